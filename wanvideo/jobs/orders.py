"""What a person asks of the queue: pause, resume, retry, move, edit, copy, another attention, models out.

Each order holds in one transaction and raises UserError when the job is not in a state for it: the page may
show a job that has moved on.
"""

import json
import logging
import shutil
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wanvideo.errors import UserError
from wanvideo.fallback import AUTO_NAMES
from wanvideo.jobs.job import DONE, FAILED, PAUSED, QUEUED, RUNNING, STATES, STOPPED, Job
from wanvideo.jobs.store import JobStore
from wanvideo.registry import attention_backends, resolve
from wanvideo.request import GenerationRequest, RuntimeOptions, to_mapping

log = logging.getLogger(__name__)

UP, DOWN, FRONT = "up", "down", "front"
UNLOAD_SECONDS = 5.0  # that a command waits for a worker to unload; one without a job does it at once
ASK_SECONDS = 0.1

_WAITING = (QUEUED, PAUSED)
_FRONT = "(SELECT COALESCE(MIN(position), 0) - 1 FROM jobs WHERE state IN ('queued', 'paused', 'running'))"
_END = "(SELECT COALESCE(MAX(position), 0) + 1 FROM jobs)"
_FRESH = "stop_requested = 0, pause_requested = 0, attempts = 0, ended = NULL, progress = '{}'"


def pause_queue(store: JobStore) -> None:
    """No further job is begun; the one that runs goes on."""
    with store.writing() as database:
        if not is_paused(store):
            database.execute("INSERT INTO queue_pause (since) VALUES (?)", (time.time(),))


def resume_queue(store: JobStore) -> None:
    """Jobs are begun again."""
    with store.writing() as database:
        database.execute("DELETE FROM queue_pause")


def is_paused(store: JobStore) -> bool:
    """Whether the queue as a whole is paused."""
    return store.reading().execute("SELECT 1 FROM queue_pause").fetchone() is not None


def pause_job(store: JobStore, job_id: int) -> None:
    """A queued job is left out until it is resumed; a running one leaves its worker at its next step and
    keeps its finished windows.
    """
    with _ordered(store, job_id, (QUEUED, RUNNING), "be paused") as (database, _):
        database.execute(
            "UPDATE jobs SET pause_requested = state = 'running', "
            "state = replace(state, 'queued', 'paused') WHERE id = ?",
            (job_id,),
        )


def resume_job(store: JobStore, job_id: int) -> None:
    """A paused job waits again: at the front if it had begun, else in its old place."""
    with _ordered(store, job_id, (PAUSED, RUNNING), "be resumed") as (database, job):
        place = "position" if job.started is None or job.state == RUNNING else _FRONT
        database.execute(
            f"UPDATE jobs SET pause_requested = 0, position = {place}, "
            "state = replace(state, 'paused', 'queued') WHERE id = ?",
            (job_id,),
        )


def retry_job(store: JobStore, job_id: int, *, blocking: bool = False) -> None:
    """A failed or stopped job goes to the end of the queue; windows that it left are taken up.

    `blocking`: every launch of a kernel waits for its end, so that an error of the card names its line.
    """
    with _ordered(store, job_id, (FAILED, STOPPED), "be tried again") as (database, _):
        database.execute(
            f"UPDATE jobs SET state = 'queued', {_FRESH}, error = '', failure = '{{}}', result = '{{}}', "
            f"preview = NULL, blocking = ?, position = {_END} WHERE id = ?",
            (blocking, job_id),
        )


def copy_job(store: JobStore, job_id: int) -> int:
    """The same request at the end of the queue; returns the number of the copy."""
    with _ordered(store, job_id, STATES, "be copied") as (database, _):
        row = database.execute(
            "INSERT INTO jobs (state, request, options, attention, owner, created, position) "
            f"SELECT 'queued', request, options, attention, owner, ?, {_END} FROM jobs WHERE id = ?",
            (time.time(), job_id),
        )
        return int(row.lastrowid or 0)


def move_job(store: JobStore, job_id: int, where: str) -> None:
    """A waiting job changes places with its neighbour (`UP`, `DOWN`) or goes before all others (`FRONT`)."""
    with _ordered(store, job_id, _WAITING, "be moved") as (database, _):
        waiting = store.waiting()
        order = [job.id for job in waiting]
        place = order.index(job_id)
        order.remove(job_id)
        target = {UP: max(0, place - 1), DOWN: place + 1, FRONT: 0}[where]
        order.insert(target, job_id)
        places = zip(sorted(job.position for job in waiting), order, strict=True)
        database.executemany("UPDATE jobs SET position = ? WHERE id = ?", list(places))


def edit_job(store: JobStore, job_id: int, request: GenerationRequest, options: RuntimeOptions) -> None:
    """Another request and other options for a job that waits. Windows that it had finished belong to another
    video now and are removed.
    """
    with _ordered(store, job_id, _WAITING, "be changed") as (database, job):
        database.execute(
            "UPDATE jobs SET request = ?, options = ?, attention = NULL, output = NULL, folder = NULL, "
            "ways = '{}', notes = '[]', preview = NULL, progress = '{}', attempts = 0 WHERE id = ?",
            (json.dumps(to_mapping(request)), json.dumps(to_mapping(options)), job_id),
        )
    if job.folder and Path(job.folder).exists():
        _remove(Path(job.folder))


def switch_attention(store: JobStore, job_id: int, name: str) -> None:
    """Another attention backend, or "auto", for a job that waits, and for one that runs from its next window
    on.
    """
    if name not in AUTO_NAMES:
        name = resolve(attention_backends(), name, "attention").name
    with _ordered(store, job_id, (*_WAITING, RUNNING), "get another attention") as (database, _):
        database.execute("UPDATE jobs SET attention = ? WHERE id = ?", (name, job_id))


def unload_models(queue: Path, wait_seconds: float = UNLOAD_SECONDS) -> bool:
    """Ask the worker of a queue to drop its models. Whether it has done so within the wait: one that has a
    job does it afterwards, and without a worker no models are loaded. Raises UserError for a file that is no
    queue.
    """
    if not queue.exists():
        return False
    store = JobStore(queue)
    requested, end = store.request_unload(), time.monotonic() + wait_seconds
    while store.unload_state() == (requested, None) and time.monotonic() < end:
        time.sleep(ASK_SECONDS)
    return store.unload_state()[1] is not None


@contextmanager
def _ordered(
    store: JobStore, job_id: int, states: Sequence[str], what: str
) -> Iterator[tuple[sqlite3.Connection, Job]]:
    """A transaction with the job, which is in one of these states. Raises UserError when it is not."""
    with store.writing() as database:
        job = store.get(job_id)
        if job is None:
            raise _unknown(job_id)
        if job.state not in states:
            fix = "Copy it to make it once more." if job.state == DONE else ""
            raise UserError(f"job {job_id} is {job.state} and can't {what}", fix=fix)
        yield database, job


def _unknown(job_id: int) -> UserError:
    return UserError("there is no such job in the queue", value=job_id, fix="See: queue list")


def _remove(folder: Path) -> None:
    """What can't be removed is told and stays: it takes room, but no job takes it up."""
    try:
        shutil.rmtree(folder)
    except OSError as error:
        log.warning("the windows in %s are left behind: %s", folder, error)
