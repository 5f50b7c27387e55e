"""What happens on a click, a change and a tick: widgets become jobs, jobs become cards."""

import secrets
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from ui.cards import as_sentence, has_card, live_card, queue_card, result_card, running_job
from ui.examples import EXAMPLE_INPUTS, example_rows
from ui.fields import TABLE, Values, Widget, is_for
from ui.forecast import Updates, automatic_widgets, missing_input, show_forecast
from ui.generation import EXAMPLES, note_html
from ui.model_settings import find_checkpoints, found_card, lora_choices, model_choices
from ui.parts import Page
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.jobs.job import Job
from wanvideo.prepare import prepare
from wanvideo.request import read_options

TICK_SECONDS = 0.7


def connect(page: Page) -> None:
    """Wire every event of the page; called inside its Blocks."""
    _connect_form(page)
    _connect_forecast(page)
    _connect_jobs(page)


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


def _connect_jobs(page: Page) -> None:
    tab = page.generation
    view = gr.State({"shown": None, "newest": None, "sent": {}})
    shown = [tab.live, tab.stop, tab.video, tab.result, tab.queue, view]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    look: Callable[[dict[str, Any]], Updates] = lambda view_: look_at_jobs(page, view, view_)  # noqa: E731
    tab.generate.click(lambda values: add_jobs(page, values), page.form.components, None, **quiet).then(
        look, view, shown, **quiet
    )
    tab.stop.click(lambda: stop_running(page), None, None, **quiet).then(look, view, shown, **quiet)

    def act(current: dict[str, Any], event: gr.EventData) -> Updates:
        if event.action == "cancel":
            page.store.request_stop(event.job)
        else:
            current = {**current, "shown": event.job}
        return look_at_jobs(page, view, current)

    tab.queue.click(act, view, shown, **quiet)
    page.models.unload.click(lambda: unload_models(page), None, None, **quiet)
    gr.Timer(TICK_SECONDS).tick(look, view, shown, **quiet)
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


def add_jobs(page: Page, values: Values) -> None:
    """Generate = add to the queue, after the same checks as the forecast. Each variation is a job of its own,
    with the seed that is drawn here: a job that is taken up again must make the same video.
    """
    needed = missing_input(page, values)
    if needed:
        gr.Warning(needed)
        return
    try:
        request, options = page.read(values)
        plans = prepare(request, options)
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
        return
    numbers = [page.store.add(plan.request, options) for plan in plans]
    key = "queued_one" if len(numbers) == 1 else "queued_many"
    gr.Info(say(key, first=numbers[0], last=numbers[-1]), duration=4)


def stop_running(page: Page) -> None:
    """Ask the running job to stop."""
    job = running_job(page.store.list())
    if job:
        page.store.request_stop(job.id)


def unload_models(page: Page) -> None:
    """Ask the worker to give back the memory; it does so between two jobs."""
    page.store.request_unload()
    busy = running_job(page.store.list()) is not None
    gr.Info(say("unload_later") if busy else say("unload_now"), duration=5)


def look_at_jobs(page: Page, state: gr.State, view: dict[str, Any]) -> Updates:
    """The cards as the store has them now; only what changed since this visitor's last look is sent."""
    jobs = page.store.list()
    chosen, view = _choose_result(jobs, view)
    running = running_job(jobs)
    file = chosen.result.get("output") if chosen else None
    tab = page.generation
    cards: list[tuple[Widget, str, Any]] = [
        (tab.live, "live", live_card(jobs)),
        (tab.stop, "stop", gr.update(visible=running is not None and not running.stop_requested)),
        (tab.video, "video", gr.update(value=file, visible=file is not None)),
        (tab.result, "result", result_card(chosen)),
        (tab.queue, "queue", queue_card(jobs, chosen.id if chosen else None)),
    ]
    sent = view["sent"]
    updates: Updates = {widget: value for widget, name, value in cards if sent.get(name) != value}
    updates[state] = {**view, "sent": {name: value for _, name, value in cards}}
    return updates


def _choose_result(jobs: Sequence[Job], view: dict[str, Any]) -> tuple[Job | None, dict[str, Any]]:
    """The job the visitor clicked, until a newer one ends."""
    ended = [job for job in jobs if has_card(job)]
    newest = max(ended, key=lambda job: job.ended or 0, default=None)
    newest_id = newest.id if newest else None
    shown = view["shown"] if newest_id == view["newest"] else None
    chosen = next((job for job in ended if job.id == shown), newest)
    return chosen, {**view, "shown": shown, "newest": newest_id}
