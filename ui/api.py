"""The page's functions for scripts, over gradio's own client: plan, generate, job, jobs, stop.

The same checks and the same queue as the button's; docs/python_api.md shows how to call them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import api
from gradio.utils import get_upload_folder

from ui.cards import as_sentence
from ui.fields import HIDDEN
from ui.generation import EXAMPLES
from ui.parts import Page
from ui.texts import say
from ui.visitors import input_files, refusal
from wanvideo.errors import UserError
from wanvideo.jobs.job import Job
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import OPTION_FIELDS, GenerationRequest, RuntimeOptions

Answer = dict[str, Any]


def connect_api(page: Page) -> None:
    """Add the endpoints; called inside the page's Blocks. Annotations are what the client is told."""

    def plan(settings: dict) -> dict:  # type: ignore[type-arg]
        plans, _ = _plans(page, settings)
        return {"effective": plans[0].effective(), "notes": list(plans[0].notes), "videos": len(plans)}

    def generate(settings: dict) -> list[int]:  # type: ignore[type-arg]
        plans, options = _plans(page, settings)
        return [page.store.add(plan.request, options) for plan in plans]

    def job(number: int) -> dict:  # type: ignore[type-arg]
        return _described(_job(page, number))

    def jobs() -> list[dict]:  # type: ignore[type-arg]
        return [_described(job) for job in page.store.list()]

    def stop(number: int) -> dict:  # type: ignore[type-arg]
        page.store.request_stop(_job(page, number).id)
        return _described(_job(page, number))

    descriptions = {
        plan: "What would be made of these settings. Loads nothing.",
        generate: "Adds videos to the queue; returns the numbers of their jobs.",
        job: "State and progress of a job; of a finished one the video.",
        jobs: "Every job that waits or runs, and those that ended last.",
        stop: "Stops a job; what is finished is kept.",
    }
    for call, words in descriptions.items():
        api(call, api_name=call.__name__, api_description=words, concurrency_limit=None)


def _plans(page: Page, settings: Mapping[str, Any]) -> tuple[tuple[GenerationPlan, ...], RuntimeOptions]:
    flags = {alias for name in HIDDEN for alias in (name, *OPTION_FIELDS[name].aliases)}
    try:
        for name in flags & set(settings):
            raise UserError("a start flag of the page can't be set here", value=name)
        request, options = page.read_settings({name: _plain(value) for name, value in settings.items()})
        _check_inputs(request)
        return prepare(request, options), options
    except UserError as error:
        raise gr.Error(as_sentence(str(error)), print_exception=False) from error


def _check_inputs(request: GenerationRequest) -> None:
    """Before anything is opened: a path that was not uploaded would be any file of this machine."""
    folders = [Path(get_upload_folder()).resolve(), EXAMPLES.resolve()]
    for file in input_files(request):
        if not any(map(file.resolve().is_relative_to, folders)):
            raise UserError(say("input_refused", name=file.name))


def _plain(value: Any) -> Any:
    """An uploaded file as the path it has here; everything else as it is."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value["path"] if isinstance(value, Mapping) and "path" in value else value


def _job(page: Page, number: int) -> Job:
    found = page.store.get(number)
    if found is None:
        raise refusal(say("no_job", number=number))
    return found


def _described(job: Job) -> Answer:
    """JSON; `video` is a file that gradio's client downloads."""
    result = job.result
    output = result.get("output")
    return {
        "number": job.id,
        "state": job.state,
        "error": job.error,
        "progress": dict(job.progress),
        "seconds": result.get("seconds"),
        "effective": result.get("effective", {}),
        "notes": list(result.get("notes", ())),
        "video": {"path": output, "meta": {"_type": "gradio.FileData"}} if output else None,
    }
