"""Forms that come back: each task's own, one for the options and the batch, kept for each visitor at every
change.

The field `task` has two widgets. The first is the switch. The second names the task whose form the other
widgets hold: it changes together with them, while the switch is ahead of them until the server has answered.
It is empty until the page has got its form, so that what a fresh page shows is never kept.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from ui.fields import START_TASK, TABLE, Values, Widget, is_for, shown_values
from ui.forecast import Updates
from ui.guests import current_visitor
from ui.parts import Page
from ui.restore import find_installed, is_served, served_folders, tell_lost
from ui.texts import say
from wanvideo.library.settings import base_name
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS, TASKS

Kept: TypeAlias = Mapping[str, Any]

OPTIONS, LAST, BATCH = "options", "last", "batch"  # what is kept beside one form for each task
FILES = (gr.Image, gr.Audio, gr.Video)
INPUT_KINDS = ("path", "paths", "boxes")
INPUT_WORDS = ("prompt", "audio_order")
NO_FILE = {"model": "model_automatic", "loras": "lora_none"}  # fields that name files: their words for none


def request_names(page: Page, task: str) -> list[str]:
    """The fields of a task's form."""
    names = [name for name in page.form.widgets if name in REQUEST_FIELDS and is_for(name, task)]
    return [name for name in names if name != "task"]


def option_names(page: Page) -> list[str]:
    """The fields of the options' form."""
    return [name for name in page.form.widgets if name in OPTION_FIELDS]


def is_input(name: str) -> bool:
    """Whether the field says what a video is of, not how it is made."""
    return TABLE[name].kind in INPUT_KINDS or name in INPUT_WORDS


def keep_form(page: Page, values: Values) -> None:
    """Remember what the widgets hold, mistakes too."""
    held = _held_task(page, values)
    if held is None:
        return
    fields = {held: request_names(page, held), OPTIONS: option_names(page)}
    parts: dict[str, Any] = {
        part: {name: [values[widget] for widget in page.form.widgets[name]] for name in names}
        for part, names in fields.items()
    }
    batch = page.generation.batch
    if batch.files in values:  # not every event is given it
        parts[BATCH] = {
            "files": values[batch.files] or [],
            "prompts": values[batch.prompts],
            "seeds": values[batch.seeds],
        }
    page.forms.keep(current_visitor() or "", {**parts, LAST: {"task": values[page.form["task"]]}})


def forget_batch(page: Page) -> None:
    """For one that has become jobs: it would make them again after a reload."""
    page.forms.keep(current_visitor() or "", {BATCH: {}})


def open_form(page: Page) -> Updates:
    """For a page that was just opened: what this visitor's page held when it was last changed. A field that
    begins like that is left alone: somebody may be typing in it already.
    """
    kept = page.forms.read(current_visitor() or "")
    last = kept.get(LAST, {}).get("task")
    task = last if last in TASKS else START_TASK
    filled = _fill(page, kept.get(task, {}), request_names(page, task))
    filled |= _fill(page, kept.get(OPTIONS, {}), option_names(page))
    changed = {widget: new for widget, new in filled.items() if (new["value"] or "") != (widget.value or "")}
    switched = {widget: gr.update(value=task) for widget in page.form.widgets["task"]}
    return {**changed, **_fill_batch(page, kept.get(BATCH, {})), **switched}


def switch_form(page: Page, values: Values) -> Updates:
    """For a switch that was clicked: what was kept of the task's form; the first time its defaults, with what
    the video is of taken along. Nothing when the form came together with the switch (from a video, from a
    workflow) or has not come yet.
    """
    task, held = values[page.form["task"]], _held_task(page, values)
    if held in (None, task):
        return {}
    keep_form(page, values)
    kept = page.forms.read(current_visitor() or "").get(task)
    names = [name for name in request_names(page, task) if kept is not None or not is_input(name)]
    return {**_fill(page, kept or {}, names), page.form.widgets["task"][1]: gr.update(value=task)}


def default_updates(page: Page, names: Iterable[str]) -> Updates:
    """The fields as a form begins."""
    return _fill(page, {}, names)


def _held_task(page: Page, values: Values) -> str | None:
    held = values[page.form.widgets["task"][1]]
    return held if held in TASKS else None


def _fill(page: Page, kept: Kept, names: Iterable[str]) -> Updates:
    """What was kept of the fields, or their defaults where it is not there any more, which is told."""
    installed, roots = _installed_names(page, kept), served_folders(page)
    updates: Updates = {}
    lost: list[str] = []
    for name in names:
        widgets, shown = page.form.widgets[name], shown_values(name, TABLE[name].default)
        old = kept.get(name)
        given = old if isinstance(old, list) and len(old) == len(widgets) else shown
        for widget, value, default in zip(widgets, given, shown, strict=True):
            choices = _choices(widget, installed.get(name))
            fits = _can_hold(widget, value, choices, roots)
            lost += [base_name(value)] if not fits and isinstance(value, str) else []
            updates[widget] = gr.update(value=value if fits else default)
            if choices and name in installed:  # the page may not have listed them yet
                listed = [(choice, choice) for choice in choices if choice]
                updates[widget]["choices"] = [(say(NO_FILE[name]), ""), *listed]
    tell_lost(lost)
    return updates


def _fill_batch(page: Page, kept: Kept) -> Updates:
    """What was given there, unfolded, so that nobody makes many videos unawares. Files that are gone are
    told.
    """
    batch, roots = page.generation.batch, served_folders(page)
    named = [file for file in kept.get("files") or () if isinstance(file, str)]
    files = [file for file in named if is_served(file, roots)]
    tell_lost(base_name(file) for file in named if file not in files)
    texts = [kept.get(name) or "" for name in ("prompts", "seeds")]
    given = zip(batch.widgets, (files, *texts), strict=True)
    filled: Updates = {widget: gr.update(value=value) for widget, value in given if value}
    return {**filled, batch.fold: gr.update(open=True)} if filled else {}


def _installed_names(page: Page, kept: Kept) -> Mapping[str, Sequence[str]]:
    """For fields whose choices are files: those that are there, looked for only where one was chosen."""
    untouched = {name: (None, shown_values(name, TABLE[name].default)) for name in NO_FILE}
    if all(kept.get(name) in plain for name, plain in untouched.items()):
        return {}
    known = find_installed(page)
    return {"model": known.models, "loras": known.loras}


def _choices(widget: Widget, installed: Sequence[str] | None) -> list[str]:
    if not isinstance(widget, (gr.Dropdown, gr.Radio)):
        return []
    return ["", *installed] if installed is not None else [str(value) for _, value in widget.choices]


def _can_hold(widget: Widget, value: Any, choices: Sequence[str], roots: Iterable[Path]) -> bool:
    """Whether a value that was kept, maybe by another version, is one for this widget."""
    if isinstance(widget, FILES):
        return value is None or (isinstance(value, str) and is_served(value, roots))
    if isinstance(widget, (gr.Dropdown, gr.Radio)):
        is_free = isinstance(widget, gr.Dropdown) and widget.allow_custom_value
        return isinstance(value, str) and (is_free or value in choices)
    if isinstance(widget, gr.Checkbox):
        return isinstance(value, bool)
    kinds = (int, float) if isinstance(widget, gr.Number) else str
    return value is None or isinstance(value, kinds)
