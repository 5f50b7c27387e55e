"""From the form to the queue, and from the queue to the cards: what Generate, the rows and the clock do."""

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import gradio as gr

from ui.attention_now import attention_list, switch_now
from ui.batch_events import add_batch, is_batch
from ui.cards import as_sentence, has_card, live_card, result_card, running_job
from ui.fields import Values, Widget
from ui.forecast import Updates, missing_input
from ui.meter import meter_html
from ui.parts import Page
from ui.queue import EDIT, REUSE, REUSE_SEED, SHOW, add_plans, carry_out, queue_card, row_of
from ui.queue_line import queue_line
from ui.restore import job_settings, option_updates, request_updates, toast
from ui.result_actions import connect_result
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.jobs.job import Job
from wanvideo.jobs.orders import edit_job, is_paused, pause_queue, resume_queue
from wanvideo.jobs.so_far import video_so_far
from wanvideo.prepare import prepare

TICK_SECONDS = 0.7
NOTHING_SEEN: Mapping[str, Any] = {"shown": None, "newest": None, "editing": None, "sent": {}}
View = dict[str, Any]


def connect_jobs(page: Page) -> None:
    """Wire the queue; called inside the page's Blocks."""
    tab = page.generation
    view = gr.State(dict(NOTHING_SEEN))
    shown = [tab.live, tab.meter, tab.attention, tab.stop, tab.so_far, tab.video, tab.actions.place]
    shown += [tab.actions.download, tab.result, tab.queue, tab.hold, tab.generate, tab.queue_line, view]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    look: Callable[[View], Updates] = lambda seen: look_at_jobs(page, view, seen)  # noqa: E731

    def generate(values: Values) -> Updates:
        if not is_batch(page, values):
            return {view: add_jobs(page, values, values[view])}
        if values[view]["editing"] is None:
            return {view: gr.skip(), **add_batch(page, values)}
        gr.Warning(say("batch_edit"))
        return {view: gr.skip()}

    def act(seen: View, event: gr.EventData) -> Updates:
        return do_in_row(page, view, seen, event)

    def steer(event: gr.EventData) -> None:
        switch_now(page, event)

    asked = {*page.form.components, *tab.batch.widgets, view}
    made = tab.generate.click(generate, asked, [view, *tab.batch.widgets], **quiet)
    made.then(look, view, shown, **quiet)
    tab.stop.click(lambda: stop_running(page), None, None, **quiet).then(look, view, shown, **quiet)
    tab.hold.click(lambda: hold_or_go_on(page), None, None, **quiet).then(look, view, shown, **quiet)
    tab.queue.click(act, view, [*shown, *page.form.components], **quiet)
    tab.attention.click(steer, None, None, **quiet).then(look, view, shown, **quiet)
    connect_result(page, view)
    page.models.unload.click(lambda: unload_models(page), None, None, **quiet)
    gr.Timer(TICK_SECONDS).tick(look, view, shown, **quiet)


def add_jobs(page: Page, values: Values, seen: View | None = None) -> View:
    """Generate = add to the queue, after the same checks as the forecast, or change the job that is edited.
    Each variation is a job of its own, with the seed that is drawn here: a job that is taken up again must
    make the same video.
    """
    seen = dict(seen or NOTHING_SEEN)
    needed = missing_input(page, values)
    if needed:
        gr.Warning(needed)
        return seen
    try:
        request, options = page.read(values)
        plans = prepare(request, options, suspects=page.store.suspects())
        if seen["editing"] is not None:
            return _change_job(page, plans, options, seen)
    except UserError as error:
        gr.Warning(as_sentence(str(error)))
        return seen
    add_plans(page.store, plans, options)
    return seen


def _change_job(page: Page, plans: Sequence[Any], options: Any, seen: View) -> View:
    """Raises UserError when the job has begun meanwhile, or the form makes several."""
    if len(plans) > 1:
        raise UserError(say("queue_edit_one"))
    edit_job(page.store, seen["editing"], plans[0].request, options)
    gr.Info(say("queue_edited", job=seen["editing"]), duration=4)
    return {**seen, "editing": None}


def do_in_row(page: Page, state: gr.State, seen: View, event: Any) -> Updates:
    """What a click in a row of the queue does; an order that comes too late is told."""
    filled: Updates = {}
    try:
        action, number = row_of(event)
        if action == SHOW:
            seen = {**seen, "shown": number}
        elif action in (EDIT, REUSE, REUSE_SEED):
            filled = _fill_form(page, number, keeps_seed=action != REUSE)
            seen = {**seen, "editing": number if action == EDIT else None}
        else:
            carry_out(page.store, action, number)
    except UserError as error:
        toast(gr.Warning, str(error))
    return {**filled, **look_at_jobs(page, state, seen)}


def _fill_form(page: Page, number: int, *, keeps_seed: bool) -> Updates:
    job = page.store.get(number)
    if job is None:
        return {}
    settings = job_settings(job)
    return {**request_updates(page, settings, keeps_seed=keeps_seed), **option_updates(page, settings)}


def stop_running(page: Page) -> None:
    """Ask the running job to stop."""
    job = running_job(page.store.list())
    if job:
        page.store.request_stop(job.id)


def hold_or_go_on(page: Page) -> None:
    """Pause the queue, or let it go on."""
    (resume_queue if is_paused(page.store) else pause_queue)(page.store)


def unload_models(page: Page) -> None:
    """Ask the worker to give back the memory; it does so between two jobs."""
    page.store.request_unload()
    busy = running_job(page.store.list()) is not None
    gr.Info(say("unload_later") if busy else say("unload_now"), duration=5)


def look_at_jobs(page: Page, state: gr.State, seen: View) -> Updates:
    """The cards as the store has them now; only what changed since this visitor's last look is sent."""
    jobs = page.store.list()
    seen = _still_editing(jobs, seen)
    chosen, seen = _choose_result(jobs, seen)
    running, paused = running_job(jobs), is_paused(page.store)
    file = _video_of(chosen)
    editing = seen.get("editing")
    tab = page.generation
    cards: list[tuple[Widget, str, Any]] = [
        (tab.live, "live", live_card(jobs)),
        (tab.meter, "meter", meter_html(page.meter.look())),
        (tab.attention, "attention", attention_list(page, running)),
        (tab.stop, "stop", gr.update(visible=running is not None and not running.stop_requested)),
        (tab.so_far, "so_far", _so_far(running)),
        (tab.video, "video", gr.update(value=file, visible=file is not None)),
        (tab.actions.place, "actions", gr.update(visible=file is not None)),
        (tab.actions.download, "download", gr.update(value=file)),
        (tab.result, "result", result_card(chosen)),
        (tab.queue, "queue", queue_card(jobs, chosen.id if chosen else None, is_paused=paused)),
        (tab.queue_line, "queue_line", queue_line(jobs)),
        (tab.hold, "hold", gr.update(value=say("queue_go_on" if paused else "queue_hold"))),
        (tab.generate, "generate", gr.update(value=_generate_word(editing))),
    ]
    sent = seen["sent"]
    updates: Updates = {widget: value for widget, name, value in cards if sent.get(name) != value}
    # Copies: gradio takes apart the updates that it sends, and they would never be found the same again
    updates[state] = {**seen, "sent": {name: copy(value) for _, name, value in cards}}
    return updates


def _video_of(chosen: Job | None) -> str | None:
    """Its file, unless somebody has removed it."""
    file = chosen.result.get("output") if chosen else None
    return file if file and Path(file).is_file() else None


def _so_far(running: Job | None) -> dict[str, Any]:
    """The finished windows of the running job; hidden while there are none."""
    path = video_so_far(running) if running and running.windows else None
    update: dict[str, Any] = gr.update(value=str(path) if path else None, visible=path is not None)
    return update


def _generate_word(editing: int | None) -> str:
    return say("generate") if editing is None else say("queue_editing", job=editing)


def _still_editing(jobs: Sequence[Job], seen: View) -> View:
    """A job that has begun, or is gone, can't be changed any more."""
    waiting = {job.id for job in jobs if job.started is None and job.ended is None}
    return seen if seen.get("editing") in (None, *waiting) else {**seen, "editing": None}


def _choose_result(jobs: Sequence[Job], seen: View) -> tuple[Job | None, View]:
    """The job the visitor clicked, until a newer one ends."""
    ended = [job for job in jobs if has_card(job)]
    newest = max(ended, key=lambda job: job.ended or 0, default=None)
    newest_id = newest.id if newest else None
    shown = seen["shown"] if newest_id == seen["newest"] else None
    chosen = next((job for job in ended if job.id == shown), newest)
    return chosen, {**seen, "shown": shown, "newest": newest_id}
