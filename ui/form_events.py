"""What brings a form back when the page opens, and what sets one back to how it began."""

from typing import Any

import gradio as gr

from ui.cards import as_sentence
from ui.fields import Values, shown_values
from ui.forecast import Updates
from ui.forms import default_updates, is_input, open_form, option_names, request_names
from ui.negative import connect_negative
from ui.parts import Page
from ui.presets import find_preset, preset_words
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.recommended import recommended_preset


def connect_forms(page: Page) -> None:
    """Wire them; called inside the page's Blocks."""
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    blocks, form = gr.context.Context.root_block, page.form.components
    assert blocks is not None
    batch = page.generation.batch
    blocks.load(lambda: open_form(page), None, [*form, *batch.widgets, batch.fold], **quiet)
    page.generation.reset.click(lambda values: reset_form(page, values), form, [*form], **quiet)
    page.models.reset.click(lambda values: reset_options(page, values), form, [*form], **quiet)
    connect_negative(page.generation.negative)


def reset_form(page: Page, values: Values) -> Updates:
    """The task's fields of the Generation tab as they began; what the video is of stays."""
    of_task = request_names(page, values[page.form["task"]])
    names = [name for name in of_task if name in page.generation.widgets and not is_input(name)]
    gr.Info(say("reset_form_done"), duration=4)
    return default_updates(page, names)


def reset_options(page: Page, values: Values) -> Updates:
    """The options as the preset for this machine has them; model and LoRAs stay."""
    try:
        preset = find_preset(recommended_preset(page.machine, values[page.form["task"]]).name)
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
        return {page.form["task"]: gr.skip()}
    names = option_names(page)
    updates = default_updates(page, names)
    for name in set(names) & set(preset.options):
        for widget, value in zip(
            page.form.widgets[name], shown_values(name, preset.options[name]), strict=True
        ):
            updates[widget] = gr.update(value=value)
    gr.Info(say("reset_options_done", preset=preset_words(preset)["label"]), duration=4)
    return updates
