"""What happens on a click, a change and a tick: widgets become jobs, jobs become cards."""

import secrets
from typing import Any

import gradio as gr

from ui.examples import EXAMPLE_INPUTS, example_rows
from ui.fields import TABLE, is_for
from ui.forecast import Updates, automatic_widgets, show_forecast
from ui.generation import EXAMPLES, note_html
from ui.model_settings import find_checkpoints, found_card, lora_choices, model_choices
from ui.parts import Page
from ui.texts import say
from wanvideo.request import read_options

TICK_SECONDS = 0.7


def connect(page: Page) -> None:
    """Wire every event of the page; called inside its Blocks."""
    _connect_form(page)
    _connect_forecast(page)
    _connect_models(page)


def _connect_form(page: Page) -> None:
    task, speech = page.form["task"], page.form.widgets["audio"]
    blocks = [block for block, _ in page.generation.task_blocks]
    by_task = [name for name in page.form.widgets if TABLE[name].tasks]
    shown = [widget for name in by_task for widget in page.form.widgets[name]]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab = page.generation
    told = [tab.task_note, tab.source_note, page.form["prompt"], *filter(None, [tab.examples])]
    task.change(lambda value: show_task(page, value), task, [*blocks, *shown, *told], **quiet)
    gr.on(
        [sound.change for sound in speech],
        lambda *sounds: (gr.update(open=bool(sounds[1])), gr.update(visible=all(sounds))),
        list(speech),
        [page.generation.second, page.generation.pair],
        **quiet,
    )
    if page.generation.examples:
        filled = [widget for name in EXAMPLE_INPUTS for widget in page.form.widgets[name]]
        page.generation.examples.click(
            lambda row: example_rows(EXAMPLES)[row], page.generation.examples, filled, **quiet
        )
    page.generation.dice.click(lambda: secrets.randbelow(2**31), None, page.form["seed"], **quiet)


def show_task(page: Page, task: str) -> Updates:
    """Only the inputs that the task has."""
    updates: Updates = {
        block: gr.update(visible=task in tasks) for block, tasks in page.generation.task_blocks
    }
    for name, widgets in page.form.widgets.items():
        if TABLE[name].tasks:
            updates |= {widget: gr.update(visible=is_for(name, task)) for widget in widgets}
    updates[page.form["prompt"]] = gr.update(placeholder=say(f"prompt_{task}"))
    if page.generation.examples:
        updates[page.generation.examples] = gr.update(visible=is_for("audio", task))
    notes = {page.generation.task_note: "task", page.generation.source_note: "source"}
    return {**updates, **{widget: note_html(about, task) for widget, about in notes.items()}}


def _connect_forecast(page: Page) -> None:
    triggers = [
        widget.blur if isinstance(widget, gr.Textbox) else widget.change for widget in page.form.components
    ]
    gr.on(
        [*triggers, _blocks().load],
        lambda values: show_forecast(page, values),
        page.form.components,
        [page.generation.forecast, page.models.plan, *automatic_widgets(page.form)],
        show_progress="hidden",
        trigger_mode="always_last",
        api_visibility="private",
    )


def _connect_models(page: Page) -> None:
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    found = [page.form["model"], *page.form.widgets["loras"][::2], page.models.found]
    gr.on([_blocks().load], lambda: show_models(page), None, found, **quiet)


def _blocks() -> gr.Blocks:
    blocks = gr.context.Context.root_block
    assert blocks is not None
    return blocks


def show_models(page: Page) -> Updates:
    """What lies in the model folders now."""
    options = read_options(page.folders)
    found, refused = find_checkpoints(options)
    names = gr.update(choices=lora_choices(options))
    return {
        **dict.fromkeys(page.form.widgets["loras"][::2], names),
        page.form["model"]: gr.update(choices=model_choices(found)),
        page.models.found: found_card(found, refused),
    }
