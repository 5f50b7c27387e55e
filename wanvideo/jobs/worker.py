"""The process that makes the videos: `python -m wanvideo.jobs.worker QUEUE_FILE`. It ends with the program that started it.

It takes jobs one after the other, keeps the loaded models between them, and outlives every job that fails.
"""

import logging
import os
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
from wanvideo.jobs.job import Job
from wanvideo.jobs.report import JobReport
from wanvideo.jobs.store import JobStore
from wanvideo.model_cache import ModelCache
from wanvideo.prepare import prepare
from wanvideo.request import read_options, read_request

log = logging.getLogger(__name__)

Generate: TypeAlias = Callable[..., Any]  # pipeline.generate, whose import costs seconds

IDLE_SECONDS = 0.5
FAREWELL_SECONDS = 20.0
LOG_NAME = "worker.log"


def worker_name(pid: int) -> str:
    """What a worker of that process id is called in the queue."""
    return f"worker-{pid}"


def run_worker(store: JobStore, *, generate: Generate, name: str, leaving: Event) -> None:
    """Work through the queue until `leaving` is set. `generate` is called as `pipeline.generate`."""
    cache = ModelCache()
    while not leaving.is_set():
        job = store.claim(name)
        if job is None:
            leaving.wait(IDLE_SECONDS)
            continue
        over = Event()
        threading.Thread(target=_keep_lease, args=(store, job, over), daemon=True).start()
        try:
            _run_job(store, job, lambda plan, progress: generate(plan, cache, progress), leaving)
        finally:
            over.set()


def _run_job(store: JobStore, job: Job, make: Callable[..., Any], leaving: Event) -> None:
    """One job to its end, whatever that is; only an interruption of the process itself gets past here."""
    log.info("job %d: begins, attempt %d", job.id, job.attempts)
    try:
        wanted = Path(job.output) if job.output else None
        (plan,) = prepare(read_request(job.request), read_options(job.options), wanted)
        store.set_output(job, plan.output)
        made = make(plan, JobReport(store, job, leaving))
        store.finish(job, _result(made))
        log.info("job %d: done in %.1f s, %s", job.id, made.seconds, made.output)
    except Cancelled:
        (store.release if leaving.is_set() else store.stop)(job)
        log.info("job %d: stopped", job.id)
    except UserError as error:
        store.fail(job, str(error))
        log.info("job %d: %s", job.id, error)
    except Exception as error:  # the edge of the program: the queue goes on
        log_id = uuid.uuid4().hex[:8]
        log.error("job %d: fault %s\n%s", job.id, log_id, traceback.format_exc())
        where = store.path.parent / LOG_NAME
        store.fail(job, f"A fault in the program: {type(error).__name__}. {where} has the details under {log_id}.")


def _result(made: Any) -> dict[str, Any]:
    return {
        "output": str(made.output),
        "effective": made.plan.effective(),
        "notes": list(made.plan.notes),
        "seconds": made.seconds,
        "stages": made.stages,
    }


def _keep_lease(store: JobStore, job: Job, over: Event) -> None:
    while not over.wait(store.lease_seconds / 4):
        store.renew(job)


def _leave_with_parent(leaving: Event) -> None:
    """The parent holds the other end of stdin and never writes: the end of the stream means that it is gone."""
    sys.stdin.buffer.read()
    leaving.set()
    time.sleep(FAREWELL_SECONDS)
    os._exit(1)  # a kernel or a file that does not return must not outlive the page


def _log_to(path: Path) -> None:
    handler = RotatingFileHandler(path, maxBytes=2_000_000, backupCount=2, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler, logging.StreamHandler()])


def main(queue: str) -> int:
    """Serve the queue file until the parent process closes our stdin."""
    store = JobStore(queue)
    _log_to(store.path.parent / LOG_NAME)
    leaving = Event()
    threading.Thread(target=_leave_with_parent, args=(leaving,), daemon=True).start()
    from wanvideo.pipeline import generate

    run_worker(store, generate=generate, name=worker_name(os.getpid()), leaving=leaving)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
