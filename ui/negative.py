"""The negative prompt: the field, the published ones to choose from, and whether it has an effect."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from ui.fields import Widget, build_field
from ui.texts import say
from wanvideo.defaults import NEGATIVE_CHINESE, NEGATIVE_ENGLISH
from wanvideo.plan import GenerationPlan

NOTHING = " "  # an empty field stands for the default; the text encoder takes blanks for no words at all
PUBLISHED: Mapping[str, str] = {
    "negative_chinese": NEGATIVE_CHINESE,
    "negative_english": NEGATIVE_ENGLISH,
    "negative_nothing": NOTHING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class NegativePart:
    """The field's widgets, a line below it, and its buttons in the order of PUBLISHED."""

    widgets: tuple[Widget, ...]
    note: gr.HTML
    buttons: tuple[gr.Button, ...]


def build_negative() -> NegativePart:
    """Place the field in the surrounding Blocks."""
    widgets = build_field("negative_prompt")
    note = gr.HTML(elem_id="negative-note")
    with gr.Row(elem_classes="choices"):
        buttons = tuple(gr.Button(say(key), size="sm", min_width=90) for key in PUBLISHED)
    return NegativePart(widgets=widgets, note=note, buttons=buttons)


def connect_negative(part: NegativePart) -> None:
    """Wire the buttons; called inside the part's Blocks."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    for button, words in zip(part.buttons, PUBLISHED.values(), strict=True):
        button.click(partial(str, words), None, part.widgets[0], **quiet)


def negative_note(plan: GenerationPlan) -> str:
    """Whether the negative prompt does anything in this plan; empty when it does."""
    if set(plan.settings.guidance_scale) == {1.0}:
        return f"<p class='hint'>{say('negative_idle')}</p>"
    return "" if plan.settings.negative_prompt.strip() else f"<p class='hint'>{say('negative_none')}</p>"
