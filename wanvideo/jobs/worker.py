"""The process that makes the videos: `python -m wanvideo.jobs.worker QUEUE_FILE [NUMBER]`.

It takes jobs one after the other, keeps the loaded models between them, outlives every job that fails, and
ends with the program that started it.
"""

import gc
import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum, auto
from logging.handlers import RotatingFileHandler, WatchedFileHandler
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

from wanvideo.errors import Cancelled, UserError
from wanvideo.hardware import probe_hardware
from wanvideo.jobs.card_errors import CARD_BROKEN, FRESH_PROCESS, block_launches, sticky_error
from wanvideo.jobs.endings import after_card_error, distrust_replaced, leave_off, result_of, told_by
from wanvideo.jobs.job import INPUT, MEMORY, Job
from wanvideo.jobs.report import JobReport
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.taken_up import Steering, plan_job
from wanvideo.model_cache import ModelCache, open_cache
from wanvideo.plan import GenerationPlan
from wanvideo.request import ProgressEvent, ignore_progress
from wanvideo.stage_clock import Progress

log = logging.getLogger(__name__)

Generate: TypeAlias = Callable[..., Any]  # pipeline.generate, whose import costs seconds

IDLE_SECONDS = 0.1
FAREWELL_SECONDS = 20.0
LOG_NAME = "worker.log"
_TOO_LARGE = (
    "The memory was not enough for this video ({width} × {height}, {frames} frames at a time). "
    "A smaller width and height, or fewer frames, need less."
)


def worker_name(pid: int) -> str:
    """What a worker of that process id is called in the queue."""
    return f"worker-{pid}"


def run_worker(store: JobStore, *, generate: Generate, name: str, leaving: Event) -> int:
    """Work through the queue until `leaving` is set; returns 0, or the exit code of a process that can't go
    on. `generate` is called as `pipeline.generate`.
    """
    cache = open_cache(probe_hardware())
    requested, done = store.unload_state()
    answered = requested if done else None
    while not leaving.is_set():
        answered = _unload_if_asked(store, cache, answered)
        job = store.claim(name)
        if job is None:
            leaving.wait(IDLE_SECONDS)
            continue
        if job.blocking and not block_launches():
            store.release(job)
            return FRESH_PROCESS
        if not work_on(store, job, Studio(generate=generate, cache=cache), leaving):
            return CARD_BROKEN
        if job.blocking:  # launches of the next job need not wait
            return FRESH_PROCESS
    return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """Where videos are made: `pipeline.generate` and the models that stay loaded. `show` gets each event too,
    and may raise Cancelled.
    """

    generate: Generate
    cache: ModelCache
    show: Progress = ignore_progress


def work_on(store: JobStore, job: Job, studio: Studio, leaving: Event) -> bool:
    """One claimed job to its end, whatever that is. False when this process can't use the card any more."""
    over = Event()
    threading.Thread(target=_keep_lease, args=(store, job, over), daemon=True).start()
    try:
        ending = _run_job(store, job, studio, leaving)
    finally:
        over.set()
    if ending is Ending.NO_MEMORY:
        _free_memory(studio.cache)
    return ending is not Ending.CARD_BROKEN


class Ending(Enum):
    """How the process comes out of a job; how the job does is in the store."""

    WELL = auto()
    NO_MEMORY = auto()
    CARD_BROKEN = auto()


def _run_job(store: JobStore, job: Job, studio: Studio, leaving: Event) -> Ending:
    """Only an interruption of the process itself gets past here.

    Memory that ran out is freed by the caller: in here the error still holds the tensors.
    """
    log.info("job %d: begins, attempt %d", job.id, job.attempts)
    try:
        plan = plan_job(store, job)
        return _make_video(store, job, plan, studio, leaving)
    except UserError as error:
        store.fail(job, str(error), INPUT)
        log.info("job %d: %s", job.id, error)
    except Exception as error:  # the edge of the program: the queue goes on
        log_id = uuid.uuid4().hex[:8]
        log.error("job %d: fault %s\n%s", job.id, log_id, traceback.format_exc())
        kind = type(error).__name__
        store.fail(job, f"A fault in the program: {kind}. {LOG_NAME} has the details under {log_id}.")
    return Ending.WELL


def _make_video(store: JobStore, job: Job, plan: GenerationPlan, studio: Studio, leaving: Event) -> Ending:
    """The video, or what was finished of it when the job is stopped."""
    steering, report = Steering(store, job, plan), JobReport(store, job, leaving)

    def progress(event: ProgressEvent) -> None:
        studio.show(event)
        report(event)

    try:
        made = studio.generate(plan, studio.cache, progress, steering)
    except Cancelled:
        leave_off(store, job, plan)
    except _memory_errors():
        log.error("job %d: the memory ran out\n%s", job.id, traceback.format_exc())
        size = {"width": plan.width, "height": plan.height, "frames": plan.windows[0].frames}
        store.fail(job, _TOO_LARGE.format(**size), MEMORY, **size)
        return Ending.NO_MEMORY
    except RuntimeError as error:
        reason = sticky_error(error)
        if reason is None:
            raise
        log.error("job %d: the card reported an error\n%s", job.id, traceback.format_exc())
        after_card_error(store, job, replace(plan, attention=steering.attention), reason)
        return Ending.CARD_BROKEN
    else:
        distrust_replaced(store, job, steering.attention, made.plan)
        store.finish(job, {**result_of(made.plan, made.output), **told_by(made)})
        log.info("job %d: done in %.1f s, %s", job.id, made.seconds, made.output)
    return Ending.WELL


def _memory_errors() -> tuple[type[Exception], ...]:
    import torch

    return torch.OutOfMemoryError, MemoryError


def _unload_if_asked(store: JobStore, cache: ModelCache, answered: float | None) -> float | None:
    """The time of the last request; `answered` is that of the last one that this worker saw."""
    requested, _ = store.unload_state()
    if requested is not None and requested != answered:
        log.info("models are unloaded, as was asked")
        _free_memory(cache)
        store.unloaded(requested)
    return requested


def _free_memory(cache: ModelCache) -> None:
    """Models, and what a job that did not fit left behind: it would keep every later one from fitting."""
    import torch

    cache.unload()
    gc.collect()
    torch.cuda.empty_cache()


def _keep_lease(store: JobStore, job: Job, over: Event) -> None:
    while not over.wait(store.lease_seconds / 4):
        store.renew(job)


def _leave_with_parent(store: JobStore, name: str, leaving: Event) -> None:
    """The parent holds the other end of stdin and never writes: its end means that the parent is gone."""
    sys.stdin.buffer.read()
    leaving.set()
    time.sleep(FAREWELL_SECONDS)
    store.abandon(name, counted=False)
    os._exit(1)  # a kernel or a file that does not return must not outlive the page


def _log_to(path: Path, number: int) -> None:
    """Several workers share the file; the first one moves it away when it is full."""
    file: logging.Handler = WatchedFileHandler(path, encoding="utf-8")
    if number == 0:
        file = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[file, logging.StreamHandler()])


def main(queue: str, number: str = "0") -> int:
    """Serve the queue file until the parent process closes our stdin. `number`: which of several workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches us too; the page tells us when to leave
    store = JobStore(queue)
    _log_to(store.path.parent / LOG_NAME, int(number))
    leaving, name = Event(), worker_name(os.getpid())
    threading.Thread(target=_leave_with_parent, args=(store, name, leaving), daemon=True).start()
    from wanvideo.pipeline import generate

    status = run_worker(store, generate=generate, name=name, leaving=leaving)
    if status:
        logging.shutdown()
        os._exit(status)  # tidying up on a broken card can hang
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
