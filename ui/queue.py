"""The queue: a row for each job with what can be done with it, and what a click does."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any, TypeAlias

import gradio as gr

from ui.cards import card, duration, has_card, subtitle_of, title_of
from ui.texts import say
from wanvideo.jobs.job import CARD, DONE, FAILED, PAUSED, QUEUED, RUNNING, STOPPED, Job
from wanvideo.jobs.orders import DOWN, UP, copy_job, move_job, pause_job, resume_job, retry_job
from wanvideo.jobs.store import JobStore
from wanvideo.plan import GenerationPlan
from wanvideo.request import RuntimeOptions

Order: TypeAlias = Callable[[JobStore, int], object]

# Of the page alone; the others are orders to the queue.
SHOW, EDIT, REUSE, REUSE_SEED = "show", "edit", "reuse", "reuse_seed"
SLOWLY = "slowly"  # with launches that wait: worker.log then names the line of a CUDA error
ORDERS: Mapping[str, Order] = {
    "up": partial(move_job, where=UP),
    "down": partial(move_job, where=DOWN),
    "pause": pause_job,
    "resume": resume_job,
    "retry": retry_job,
    SLOWLY: partial(retry_job, blocking=True),
    "copy": copy_job,
    "cancel": JobStore.request_stop,
}
SIGNS: Mapping[str, str] = {  # for a word
    "up": "↑",
    "down": "↓",
    "pause": "❚❚",
    "resume": "▶",
    "cancel": "✕",
    REUSE_SEED: "⚄",
}
ACTIONS: Mapping[str, tuple[str, ...]] = {
    QUEUED: ("up", "down", EDIT, "pause", "cancel"),
    PAUSED: ("up", "down", EDIT, "resume", "cancel"),
    RUNNING: ("pause", "cancel"),
    DONE: (SHOW, REUSE, REUSE_SEED, "copy"),
    FAILED: (SHOW, REUSE, REUSE_SEED, "retry", SLOWLY),
    STOPPED: (SHOW, REUSE, REUSE_SEED, "retry"),
}


def queue_card(jobs: Sequence[Job], shown: int | None, *, is_paused: bool = False) -> str:
    """One row per job: what runs, what waits in its order, what ended with the newest first."""
    title = say("queue_paused") if is_paused else say("queue")
    if not jobs:
        return card(title, f"<p class='hint'>{say('queue_empty')}</p>", "queue")
    rows = "".join(_row(job, job.id == shown) for job in _ordered(jobs))
    return card(title, f"<ul>{rows}</ul>", "queue")


def _ordered(jobs: Sequence[Job]) -> list[Job]:
    running = [job for job in jobs if job.state == RUNNING]
    waiting = [job for job in jobs if job.state in (QUEUED, PAUSED)]
    ended = [job for job in jobs if job.state in (DONE, FAILED, STOPPED)]
    waiting.sort(key=lambda job: job.position)
    return [*running, *waiting, *sorted(ended, key=lambda job: -(job.ended or 0))]


def _row(job: Job, is_shown: bool) -> str:
    offered = [action for action in ACTIONS[job.state] if _is_offered(action, job, is_shown)]
    buttons = "".join(_button(action, job) for action in offered)
    took = job.state == DONE and job.ended and job.started
    made = f" · {duration((job.ended or 0) - (job.started or 0))}" if took else ""
    state = f"<span class='state {job.state}'>{say(f'state_{job.state}')}</span>"
    what = f"<b>{escape(title_of(job))}</b><small>{escape(subtitle_of(job))}{made}</small>"
    inside = f"{state}<span class='what'>{what}</span><span class='does'>{buttons}</span>"
    return f"<li class='{'shown' if is_shown else ''}'>{inside}</li>"


def _is_offered(action: str, job: Job, is_shown: bool) -> bool:
    if action == SHOW:
        return has_card(job) and not is_shown
    if action == SLOWLY:
        return job.error_kind == CARD and not job.blocking
    leaves = job.stop_requested or job.pause_requested
    return not (job.state == RUNNING and leaves)


def _button(action: str, job: Job) -> str:
    word = say(f"queue_{action}")
    sign = SIGNS.get(action, word)
    return (
        f"<button data-action='{action}' data-job='{job.id}' title='{escape(word)}' "
        f"aria-label='{escape(word)}'>{escape(sign)}</button>"
    )


def carry_out(store: JobStore, action: str, job_id: int) -> None:
    """An order to the queue. Raises UserError when the job has moved on in the meantime."""
    ORDERS[action](store, job_id)


def add_plans(store: JobStore, plans: Iterable[GenerationPlan], options: RuntimeOptions) -> None:
    """A job for each plan, at the end; a toast tells their numbers."""
    numbers = [store.add(plan.request, options) for plan in plans]
    key = "queued_one" if len(numbers) == 1 else "queued_many"
    gr.Info(say(key, first=numbers[0], last=numbers[-1]), duration=4)


def row_of(event: Any) -> tuple[str, int]:
    """(action, number of the job) of a click in the card; what is no such thing is refused with KeyError."""
    action = str(event.action)
    if action not in (SHOW, EDIT, REUSE, REUSE_SEED, *ORDERS):
        raise KeyError(action)
    return action, int(event.job)
