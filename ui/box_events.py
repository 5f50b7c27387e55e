"""The speakers' boxes follow the form: another picture, another recording, another size, another text."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from ui.boxes import Size, boxes_html, boxes_state, load_source
from ui.fields import Values, collect
from ui.forecast import Updates
from ui.parts import Page
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.prepare import prepare

# What a talk shows, the first that is given; the engine's conditioning looks for it in the same order.
SOURCES = ("image", "extends", "video")
SIZED_BY = ("task", "model", "width", "height")


def connect_boxes(page: Page) -> None:
    """Wire the card; called inside the page's Blocks."""
    form, text = page.form, page.form["speaker_boxes"]
    shown = gr.State(None)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    names = (*SOURCES, "audio", "speaker_boxes", *SIZED_BY)
    gr.on(
        [widget.change for name in names for widget in form.widgets[name]],
        lambda values: show_boxes(page, shown, values),
        {*form.components, shown},
        [page.generation.boxes, shown],
        trigger_mode="always_last",
        **quiet,
    )
    chosen = [event for name in SOURCES for event in (form[name].upload, form[name].clear)]
    if page.generation.examples:
        chosen.append(page.generation.examples.click)
    gr.on(chosen, clear_boxes, text, text, **quiet)


def clear_boxes(text: str) -> Any:
    """Boxes that were drawn on another picture mean nothing on this one, which is said. Nothing is sent where
    none were drawn, as a late answer would take away the first ones.
    """
    if not text:
        return gr.skip()
    gr.Info(say("boxes_cleared"), duration=6)
    return ""


def show_boxes(page: Page, shown: gr.State, values: Values) -> Updates:
    """The card as the form has it; the picture is sent only when it is another one. `shown` holds which."""
    settings = collect(page.form, values)
    voices = [Path(path).name for path in settings.get("audio", ())]
    if len(voices) < 2:
        return {shown: values[shown]}
    name = next((name for name in SOURCES if name in settings), None)
    path = settings[name] if name else ""
    try:
        source = load_source(path, is_video=name != SOURCES[0]) if name else None
    except UserError as error:
        return {page.generation.boxes: gr.update(value=boxes_html(None, str(error))), shown: None}
    update: dict[str, Any] = {} if path == values[shown] else {"value": boxes_html(source)}
    if source is not None:
        target = planned_size(page, settings)
        update["state"] = boxes_state(settings.get("speaker_boxes", ""), source, target, voices)
    return {page.generation.boxes: gr.update(**update), shown: path}


def planned_size(page: Page, settings: Mapping[str, Any]) -> Size | None:
    """(height, width) of the video, also when the boxes are what is wrong with it; None while something else
    is, of which the forecast tells.
    """
    for kept in (settings, {**settings, "speaker_boxes": ()}):
        try:
            request, options = page.read_settings(kept)
            plan = prepare(replace(request, count=1), options, suspects=page.store.suspects())[0]
        except UserError:
            continue
        return plan.height, plan.width
    return None
