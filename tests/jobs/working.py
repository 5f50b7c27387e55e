"""A worker in a thread, and waiting for what it does."""

import threading
import time
from collections.abc import Callable
from threading import Event

from wanvideo.jobs.job import Job
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import Generate, run_worker

PATIENCE_SECONDS = 240.0  # that a thing may take which happens at all, on a machine with other work


def work(
    store: JobStore, make: Generate, until: Callable[[], bool], seconds: float = PATIENCE_SECONDS
) -> None:
    """Run a worker in a thread until `until`."""
    leaving = Event()
    keywords = {"generate": make, "name": "w", "leaving": leaving}
    thread = threading.Thread(target=run_worker, args=(store,), kwargs=keywords)
    thread.start()
    try:
        wait_for(until, seconds)
    finally:
        leaving.set()
        thread.join(30)
    assert not thread.is_alive()


def wait_for(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.05)


def get(store: JobStore, number: int) -> Job:
    job = store.get(number)
    assert job is not None
    return job
