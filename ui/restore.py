"""The settings of a video back into the form, and what of them is not there any more."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import gradio as gr
from gradio.utils import get_upload_folder

from ui.cards import as_sentence
from ui.fields import HIDDEN, START_TASK, TABLE, is_for, name_choices, shown_values
from ui.forecast import Updates
from ui.generation import EXAMPLES
from ui.parts import Installed, Page
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.jobs.job import Job
from wanvideo.jobs.store import JobStore
from wanvideo.library.settings import VideoSettings, base_name, shown_values_of
from wanvideo.request import OPTION_FIELDS, RANDOM_SEED, REQUEST_FIELDS, read_options

SEARCHED_JOBS = 10_000  # ended ones
MOST_TOLD = 6


def settings_of_job(store: JobStore, video: Path) -> VideoSettings | None:
    """Those of the job that made the video, with the paths of its inputs; None when the queue does not know
    it. Raises UserError when an older version wrote what can't be read any more.
    """
    made = (job for job in store.list(limit=SEARCHED_JOBS) if job.result.get("output"))
    job = next((job for job in made if Path(job.result["output"]) == video), None)
    return None if job is None else job_settings(job)


def job_settings(job: Job) -> VideoSettings:
    """What a job was asked for, and what ran. Raises UserError when it can't be read any more."""
    asked = read_values(
        OPTION_FIELDS, {name: job.options[name] for name in job.options if name not in HIDDEN}
    )
    options = {name: row.default for name, row in OPTION_FIELDS.items() if name not in HIDDEN}
    return VideoSettings(
        request=read_values(REQUEST_FIELDS, job.request),
        options={**options, **asked},
        effective=shown_values_of(job.result.get("effective", {})),
        notes=tuple(map(str, job.result.get("notes", ()))),
    )


def request_updates(page: Page, settings: VideoSettings, *, keeps_seed: bool) -> Updates:
    """The form as it was for this video: every request field of its task. What is gone is told by a toast."""
    task = settings.request.get("task", START_TASK)
    fields = [name for name in page.form.widgets if name in REQUEST_FIELDS and is_for(name, task)]
    values = {name: settings.request.get(name, TABLE[name].default) for name in fields}
    if not keeps_seed:
        values["seed"] = RANDOM_SEED
    values, lost = _what_is_here(page, {**values, "task": task, "count": 1})
    tell_lost(lost)
    return _updates(page, values)


def option_updates(page: Page, settings: VideoSettings) -> Updates:
    """The options of this video, as far as they are known; the others stay."""
    fields = {name: value for name, value in settings.options.items() if name in page.form.widgets}
    values, lost = _what_is_here(page, fields)
    tell_lost(lost)
    return _updates(page, values)


def picture_update(page: Page, task: str, picture: Path) -> Updates:
    """A start picture for the task, or for the first one that takes a picture and nothing else."""
    takes = task if is_for("image", task) else next(t for t in REQUEST_FIELDS["end_image"].tasks)
    return _updates(page, {"task": takes, "image": str(picture)})


def tell_lost(lost: Iterable[str]) -> None:
    """A toast that names what must be chosen again, if anything."""
    names = list(dict.fromkeys(lost))
    if names:
        more = ["…"] if len(names) > MOST_TOLD else []
        toast(gr.Warning, say("gallery_gone", files=", ".join(names[:MOST_TOLD] + more)))


def toast(show: Any, text: str) -> None:
    """A toast reads its text as HTML, and this one may hold what a stranger wrote."""
    plain = as_sentence(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    show(plain, duration=6)


def _updates(page: Page, values: Mapping[str, Any]) -> Updates:
    pairs = [(page.form.widgets[name], shown_values(name, value)) for name, value in values.items()]
    return {
        widget: gr.update(value=value)
        for widgets, shown in pairs
        for widget, value in zip(widgets, shown, strict=True)
    }


def _what_is_here(page: Page, values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The values that the form can take, and the names of what it can't: files, models, LoRAs, samplers."""
    known, lost = find_installed(page), list[str]()
    roots = served_folders(page)
    kept = dict(values)
    for name, value in values.items():
        kind = TABLE[name].kind
        if kind == "path" and value is not None:
            kept[name] = value if is_served(value, roots) else None
        elif kind == "paths":
            kept[name] = tuple(path if is_served(path, roots) else None for path in value)
            lost += [base_name(path) for path in value if path not in kept[name]]
        elif kind == "loras":
            found = [(lora, _match(lora.file, known.loras)) for lora in value]
            kept[name] = tuple(type(lora)(file=here, strength=lora.strength) for lora, here in found if here)
            lost += [base_name(lora.file) for lora, here in found if not here]
        elif name == "model" and value is not None:
            kept[name] = _match(value, known.models)
        elif kind == "name" and value not in (None, *(choice for _, choice in name_choices(name))):
            kept[name] = TABLE[name].default
        if isinstance(value, str) and kept[name] != value:
            lost.append(base_name(value))
    return kept, lost


def find_installed(page: Page) -> Installed:
    """What lies in the model folders; nothing, and a toast, where they can't be read."""
    try:
        return page.read_folders()
    except UserError as error:
        toast(gr.Warning, str(error))
        return Installed(models=(), loras=())


def _match(name: str, known: Sequence[str]) -> str | None:
    """The installed one of that name; a file's metadata has neither its folder nor, maybe, its ending."""
    wanted = {base_name(name), PurePosixPath(base_name(name)).stem}
    return name if name in known else next((k for k in known if PurePosixPath(k).name in wanted), None)


def served_folders(page: Page) -> list[Path]:
    """Those whose files the page may show: results, uploads, the examples."""
    places = (Path(read_options(page.folders).output_dir), Path(get_upload_folder()), EXAMPLES)
    return [place.resolve() for place in places]


def is_served(path: str, roots: Iterable[Path]) -> bool:
    """Whether the page may show this file: an upload or a result, or one of the examples."""
    file = Path(path)
    if not file.is_absolute() or not file.is_file():
        return False
    return any(map(file.resolve().is_relative_to, roots))
