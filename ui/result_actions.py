"""The buttons of the result: go on from it, use it again, mend it."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ui.fields import HIDDEN
from ui.forecast import Updates
from ui.going_on import from_its_end, from_last_frame, output_folder
from ui.parts import Page
from ui.queue import add_plans
from ui.redo import redone_settings
from ui.remedies import Remedy, remedies_for
from ui.restore import job_settings, option_updates, request_updates, toast
from ui.texts import say
from ui.timeline import index_of
from wanvideo.errors import UserError
from wanvideo.jobs.job import Job
from wanvideo.library.results import find_result
from wanvideo.library.settings import VideoSettings
from wanvideo.prepare import prepare
from wanvideo.request import split_settings


def connect_result(page: Page, view: gr.State) -> None:
    """Wire the buttons; called inside the page's Blocks. `view` is what the visitor sees of the queue."""
    actions, task = page.generation.actions, page.form["task"]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    form = [*page.form.components, page.tabs]
    actions.last_frame.click(partial(use_last_frame, page), [view, task], form, **quiet)
    actions.extend.click(partial(extend, page), view, [*form, page.generation.source], **quiet)
    actions.reuse.click(partial(reuse_job, page), view, form, **quiet)

    def change(event: gr.EventData) -> Updates:
        return mend(page, event) if index_of(str(event.action)) is None else redo(page, event)

    page.generation.result.click(change, None, form, **quiet)


def shown_job(page: Page, seen: Any) -> Job:
    """The one whose card the visitor sees. Raises UserError when there is none any more."""
    number = seen["newest"] if seen["shown"] is None else seen["shown"]
    job = None if number is None else page.store.get(number)
    if job is None:
        raise UserError(say("gallery_lost").rstrip("."))
    return job


def use_last_frame(page: Page, seen: Any, task: str) -> Updates:
    """The last frame of the shown video as start picture."""
    try:
        name = Path(shown_job(page, seen).result.get("output", "")).name
        return from_last_frame(page, task, find_result(output_folder(page), name))
    except UserError as error:
        return _refused(page, error)


def extend(page: Page, seen: Any) -> Updates:
    """The form for a video that goes on from the shown one, with its options."""
    try:
        job = shown_job(page, seen)
        video = find_result(output_folder(page), Path(job.result.get("output", "")).name).path
        settings = job_settings(job)
        return {**option_updates(page, settings), **from_its_end(page, settings, video)}
    except UserError as error:
        return _refused(page, error)


def reuse_job(page: Page, seen: Any) -> Updates:
    """The form and the options of the shown video, with another seed."""
    try:
        job = shown_job(page, seen)
        settings = job_settings(job)
    except UserError as error:
        return _refused(page, error)
    toast(gr.Info, say("gallery_restored", name=Path(job.result.get("output", "")).name))
    return _filled(page, settings, keeps_seed=False)


def mend(page: Page, event: Any) -> Updates:
    """The job once more with the change that the button names; the form holds it too."""
    job = page.store.get(int(event.job))
    remedy = next((r for r in remedies_for(job) if r.name == event.action), None) if job else None
    if job is None or remedy is None:
        return {page.tabs: gr.skip()}
    try:
        settings = changed(job_settings(job), remedy)
        add_changed(page, settings)
    except UserError as error:
        return _refused(page, error)
    return _filled(page, settings, keeps_seed=True)


def redo(page: Page, event: Any) -> Updates:
    """A new job that keeps the job's video up to the window of the button and makes the rest anew."""
    job, index = page.store.get(int(event.job)), index_of(str(event.action))
    if job is not None and index is not None:
        try:
            video = find_result(output_folder(page), Path(job.result.get("output", "")).name).path
            add_changed(page, redone_settings(job, index, video))
        except UserError as error:
            return _refused(page, error)
    return {page.tabs: gr.skip()}


def changed(settings: VideoSettings, remedy: Remedy) -> VideoSettings:
    """The settings with the remedy's values."""
    asked, opted = split_settings(remedy.settings)
    return replace(settings, request={**settings.request, **asked}, options={**settings.options, **opted})


def add_changed(page: Page, settings: VideoSettings) -> None:
    """A new job with these settings. Raises UserError for what can't be made."""
    given = {**settings.request, **settings.options}
    request, options = page.read_settings(
        {name: value for name, value in given.items() if value is not None and name not in HIDDEN}
    )
    add_plans(page.store, prepare(request, options, suspects=page.store.suspects()), options)


def _filled(page: Page, settings: VideoSettings, *, keeps_seed: bool) -> Updates:
    filled = request_updates(page, settings, keeps_seed=keeps_seed)
    tabs = {page.tabs: gr.Tabs(selected="generation")}
    return {**filled, **option_updates(page, settings), **tabs}


def _refused(page: Page, error: UserError) -> Updates:
    toast(gr.Warning, str(error))
    return {page.tabs: gr.skip()}
