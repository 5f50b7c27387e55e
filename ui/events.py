"""What happens on a click, a change and a tick: widgets become jobs, jobs become cards."""

import secrets
from typing import Any

import gradio as gr

from ui.batch_events import foresee
from ui.examples import EXAMPLE_INPUTS, example_rows
from ui.fields import TABLE, Values, is_for
from ui.forecast import Updates, automatic_widgets
from ui.forms import keep_form, switch_form
from ui.generation import EXAMPLES, note_html
from ui.model_settings import find_checkpoints, found_card, lora_choices, model_choices
from ui.parts import Page
from ui.sizes import fill_size, size_update
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
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    tab = page.generation
    told = [tab.task_note, tab.source_note, page.form["prompt"], *filter(None, [tab.examples])]
    changed = {*blocks, *told, *page.form.components}
    task.change(lambda values: switch_task(page, values), page.form.components, changed, **quiet)
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


def switch_task(page: Page, values: Values) -> Updates:
    """The task's inputs, with what its form held."""
    shown, filled = show_task(page, values[page.form["task"]]), switch_form(page, values)
    both = {widget: {**shown[widget], **filled[widget]} for widget in shown.keys() & filled.keys()}
    return {**shown, **filled, **both}


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
    tab = page.generation
    triggers = [
        widget.blur if isinstance(widget, gr.Textbox) else widget.change
        for widget in [*page.form.components, *tab.batch.widgets]
    ]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    given = {*page.form.components, *tab.batch.widgets}
    told = [
        tab.forecast,
        tab.waveform,
        tab.negative.note,
        tab.sizes,
        page.models.plan,
        *automatic_widgets(page.form),
    ]

    def foretell(values: Values) -> Updates:
        return _keep_and_foresee(page, values)

    gr.on(
        [*triggers, page.form["speaker_boxes"].change, _blocks().load],  # drawn, not typed
        foretell,
        given,
        told,
        trigger_mode="always_last",
        **quiet,
    )
    size = [page.form["width"], page.form["height"]]
    tab.sizes.input(fill_size, tab.sizes, size, **quiet).then(foretell, given, told, **quiet)


def _keep_and_foresee(page: Page, values: Values) -> Updates:
    """Every change passes here, with all values."""
    keep_form(page, values)
    return {**foresee(page, values), page.generation.sizes: size_update(page.form, values)}


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
