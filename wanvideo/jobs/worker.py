"""The process that makes the videos: `python -m wanvideo.jobs.worker QUEUE_FILE`.

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
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Event
from typing import Any, TypeAlias

from wanvideo.errors import Cancelled, UserError
from wanvideo.hardware import probe_hardware
from wanvideo.jobs.job import Job
from wanvideo.jobs.report import JobReport
from wanvideo.jobs.store import JobStore
from wanvideo.memory.room import with_own_memory
from wanvideo.model_cache import ModelCache, open_cache
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import read_options, read_request

log = logging.getLogger(__name__)

Generate: TypeAlias = Callable[..., Any]  # pipeline.generate, whose import costs seconds

IDLE_SECONDS = 0.5
FAREWELL_SECONDS = 20.0
LOG_NAME = "worker.log"
_TOO_LARGE = (
    "The memory was not enough for this video ({width} × {height}, {frames} frames at a time). "
    "A smaller width and height, or fewer frames, need less."
)


def worker_name(pid: int) -> str:
    """What a worker of that process id is called in the queue."""
    return f"worker-{pid}"


def run_worker(store: JobStore, *, generate: Generate, name: str, leaving: Event) -> None:
    """Work through the queue until `leaving` is set. `generate` is called as `pipeline.generate`."""
    cache = open_cache(probe_hardware())
    requested, done = store.unload_state()
    answered = requested if done else None
    while not leaving.is_set():
        answered = _unload_if_asked(store, cache, answered)
        job = store.claim(name)
        if job is None:
            leaving.wait(IDLE_SECONDS)
            continue
        over = Event()
        threading.Thread(target=_keep_lease, args=(store, job, over), daemon=True).start()
        try:
            ran_out = _run_job(store, job, lambda plan, progress: generate(plan, cache, progress), leaving)
        finally:
            over.set()
        if ran_out:
            _free_memory(cache)


def _run_job(store: JobStore, job: Job, make: Callable[..., Any], leaving: Event) -> bool:
    """One job to its end, whatever that is; only an interruption of the process itself gets past here.

    True when the memory ran out. It is freed by the caller: in here the error still holds the tensors.
    """
    log.info("job %d: begins, attempt %d", job.id, job.attempts)
    try:
        wanted = Path(job.output) if job.output else None
        request, options = read_request(job.request), read_options(job.options)
        machine = with_own_memory(probe_hardware(), _held_bytes())
        (plan,) = prepare(request, options, wanted, tries_kernels=True, machine=machine)
        store.set_output(job, plan.output)
        return _make_video(store, job, plan, make, leaving)
    except UserError as error:
        store.fail(job, str(error))
        log.info("job %d: %s", job.id, error)
    except Exception as error:  # the edge of the program: the queue goes on
        log_id = uuid.uuid4().hex[:8]
        log.error("job %d: fault %s\n%s", job.id, log_id, traceback.format_exc())
        kind = type(error).__name__
        store.fail(job, f"A fault in the program: {kind}. {LOG_NAME} has the details under {log_id}.")
    return False


def _make_video(
    store: JobStore, job: Job, plan: GenerationPlan, make: Callable[..., Any], leaving: Event
) -> bool:
    """The video, or what was finished of it when the job is stopped. True when the memory ran out."""
    try:
        made = make(plan, JobReport(store, job, leaving))
    except Cancelled:
        log.info("job %d: stopped", job.id)
        if leaving.is_set():
            store.release(job)
        else:
            _stop(store, job, plan)
    except _memory_errors():
        log.error("job %d: the memory ran out\n%s", job.id, traceback.format_exc())
        size = {"width": plan.width, "height": plan.height, "frames": plan.windows[0].frames}
        store.fail(job, _TOO_LARGE.format(**size))
        return True
    else:
        store.finish(job, _result(made.plan, made.output, made.seconds, made.stages))
        log.info("job %d: done in %.1f s, %s", job.id, made.seconds, made.output)
    return False


def _held_bytes() -> int:
    """What PyTorch has of the card in this process, most of it in models that can make way."""
    import torch

    return torch.cuda.memory_reserved() if torch.cuda.is_initialized() else 0


def _memory_errors() -> tuple[type[Exception], ...]:
    import torch

    return torch.OutOfMemoryError, MemoryError


def _stop(store: JobStore, job: Job, plan: GenerationPlan) -> None:
    """What is finished becomes a video of its own. Raises UserError when it can't be written."""
    from wanvideo.finished_file import keep_finished  # loads torch

    kept = keep_finished(plan)
    store.stop(job, _result(plan, kept, None, {}) if kept else {})


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


def _result(
    plan: GenerationPlan, output: Path, seconds: float | None, stages: dict[str, float]
) -> dict[str, Any]:
    return {
        "output": str(output),
        "effective": plan.effective(),
        "notes": list(plan.notes),
        "seconds": seconds,
        "stages": stages,
    }


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


def _log_to(path: Path) -> None:
    file = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form, handlers=[file, logging.StreamHandler()])


def main(queue: str) -> int:
    """Serve the queue file until the parent process closes our stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches us too; the page tells us when to leave
    store = JobStore(queue)
    _log_to(store.path.parent / LOG_NAME)
    leaving, name = Event(), worker_name(os.getpid())
    threading.Thread(target=_leave_with_parent, args=(store, name, leaving), daemon=True).start()
    from wanvideo.pipeline import generate

    run_worker(store, generate=generate, name=name, leaving=leaving)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
