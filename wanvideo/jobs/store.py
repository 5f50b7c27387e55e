"""The queue as a SQLite file that the page and the workers share. Survives restarts and crashes.

A worker holds a running job by a lease: `claim` takes it, `renew` keeps it, and a lease that runs out gives
the job back to the queue. A worker's writes name it as the holder: one that lost its job can't touch it.
"""

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.jobs.job import DONE, FAILED, QUEUED, RUNNING, STOPPED, Job
from wanvideo.request import GenerationRequest, RuntimeOptions, to_mapping

LEASE_SECONDS = 20.0
MOST_ATTEMPTS = 2
BUSY_SECONDS = 15.0
UNLOAD_SECONDS = 5.0  # that a command waits for a worker to unload; one without a job does it at once
ASK_SECONDS = 0.1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL, request TEXT NOT NULL, options TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL,
    worker TEXT, lease REAL, attempts INTEGER NOT NULL DEFAULT 0, stop_requested INTEGER NOT NULL DEFAULT 0,
    output TEXT, progress TEXT NOT NULL DEFAULT '{}', preview TEXT, result TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
)"""
_UNLOADING = "CREATE TABLE IF NOT EXISTS unloading (requested REAL NOT NULL, done REAL)"  # one row, or none
_COLUMNS = (
    "id, state, request, options, created, started, ended, worker, attempts, stop_requested, "
    "output, progress, preview, result, error"
)
_HELD = "id = ? AND worker = ? AND state = 'running'"
_OPEN = "state IN ('queued', 'running')"
_UNCOUNT = "attempts = MAX(attempts - 1, 0)"
_LOST_TWICE = "The program broke down twice while making this video; worker.log says how far it came."


class JobStore:
    """The queue in the file `path`. One object serves many threads; each gets a connection of its own.

    Opening it raises UserError when the file can't be made or is no queue.
    """

    def __init__(self, path: str | Path, *, lease_seconds: float = LEASE_SECONDS) -> None:
        self.path = Path(path)
        self.lease_seconds = lease_seconds
        self._local = threading.local()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self._writing() as database:
                database.execute(_SCHEMA)
                database.execute(_UNLOADING)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            problem = f"the queue can't be kept in the output folder: {reason}"
            fix = "Choose another output folder."
            raise UserError(problem, value=str(self.path), fix=fix) from error

    def add(self, request: GenerationRequest, options: RuntimeOptions) -> int:
        """Put a job at the end of the queue; returns its number."""
        values = (QUEUED, json.dumps(to_mapping(request)), json.dumps(to_mapping(options)), time.time())
        with self._writing() as database:
            row = database.execute(
                "INSERT INTO jobs (state, request, options, created) VALUES (?, ?, ?, ?)", values
            )
            return int(row.lastrowid or 0)

    def claim(self, worker: str) -> Job | None:
        """Take the oldest queued job under a lease; None when none waits. Run-out leases come back first."""
        now = time.time()
        with self._writing() as database:
            self._give_back(database, "lease < ?", now)
            found = database.execute(
                "SELECT id FROM jobs WHERE state = 'queued' ORDER BY id LIMIT 1"
            ).fetchone()
            if found is None:
                return None
            database.execute(
                "UPDATE jobs SET state = 'running', worker = ?, lease = ?, started = ?, "
                "attempts = attempts + 1, progress = '{}' WHERE id = ?",
                (worker, now + self.lease_seconds, now, found[0]),
            )
        return self.get(found[0])

    def renew(self, job: Job) -> bool:
        """Extend the lease. False: the job was lost."""
        return self._update(job, "lease = ?", time.time() + self.lease_seconds)

    def may_continue(self, job: Job) -> bool:
        """Whether the worker still holds the job and nobody asked to stop it. Cheap: asked once per step."""
        found = self._database().execute(
            f"SELECT stop_requested FROM jobs WHERE {_HELD}", (job.id, job.worker)
        )
        row = found.fetchone()
        return row is not None and not row[0]

    def progress(self, job: Job, event: Mapping[str, Any], preview: Path | None = None) -> None:
        """Show how far the job is; without a new preview the last one stays."""
        shown = str(preview) if preview else None
        self._update(job, "progress = ?, preview = COALESCE(?, preview)", json.dumps(event), shown)

    def set_output(self, job: Job, output: Path) -> None:
        """Remember the name of the result, so that a second attempt takes up the same finished windows."""
        self._update(job, "output = ?", str(output))

    def finish(self, job: Job, result: Mapping[str, Any]) -> None:
        """The video is there; `result` is what its card shows."""
        self._update(job, "state = ?, ended = ?, result = ?", DONE, time.time(), json.dumps(result))

    def fail(self, job: Job, error: str) -> None:
        """The job ended with a sentence for the person who asked."""
        self._update(job, "state = ?, ended = ?, error = ?", FAILED, time.time(), error)

    def stop(self, job: Job, result: Mapping[str, Any]) -> None:
        """The job ended because somebody asked for it; `result` is empty when nothing was finished."""
        self._update(job, "state = ?, ended = ?, result = ?", STOPPED, time.time(), json.dumps(result))

    def release(self, job: Job) -> None:
        """Back to the queue, not counted as an attempt: the worker leaves in good order."""
        self._update(job, f"state = ?, worker = NULL, lease = NULL, {_UNCOUNT}", QUEUED)

    def forget_attempts(self, job: Job) -> None:
        """The job has come further than ever before, so what broke it until now counts no more."""
        self._update(job, "attempts = 0")

    def abandon(self, worker: str, *, counted: bool = True) -> None:
        """The worker is gone: its job goes back to the queue, or is given up on the last attempt.

        `counted` is False when the worker was ended on purpose, which says nothing against the job.
        """
        with self._writing() as database:
            if not counted:
                database.execute(
                    f"UPDATE jobs SET {_UNCOUNT} WHERE state = 'running' AND worker = ?", (worker,)
                )
            self._give_back(database, "worker = ?", worker)

    def request_stop(self, job_id: int) -> None:
        """A queued job is stopped at once, a running one at its next step; an ended one is left alone."""
        with self._writing() as database:
            database.execute(
                "UPDATE jobs SET state = 'stopped', ended = ? WHERE id = ? AND state = 'queued'",
                (time.time(), job_id),
            )
            database.execute(
                "UPDATE jobs SET stop_requested = 1 WHERE id = ? AND state = 'running'", (job_id,)
            )

    def request_unload(self) -> float:
        """Every worker drops its models as soon as it has no job; returns the time of the request."""
        now = time.time()
        with self._writing() as database:
            database.execute("DELETE FROM unloading")
            database.execute("INSERT INTO unloading (requested) VALUES (?)", (now,))
        return now

    def unload_state(self) -> tuple[float | None, float | None]:
        """When unloading was last asked for, and when a worker did it; None where it was not."""
        row = self._database().execute("SELECT requested, done FROM unloading").fetchone()
        return row or (None, None)

    def unloaded(self, requested: float) -> None:
        """A worker has done what was asked for at that time."""
        with self._writing() as database:
            database.execute("UPDATE unloading SET done = ? WHERE requested = ?", (time.time(), requested))

    def get(self, job_id: int) -> Job | None:
        """The job of that number."""
        jobs = self._select("WHERE id = ?", job_id)
        return jobs[0] if jobs else None

    def list(self, limit: int = 50) -> tuple[Job, ...]:
        """Every job that waits or runs and the `limit` that ended last, newest first."""
        ended = f"SELECT id FROM jobs WHERE NOT {_OPEN} ORDER BY ended DESC, id DESC LIMIT ?"
        return self._select(f"WHERE {_OPEN} OR id IN ({ended}) ORDER BY id DESC", limit)

    def _select(self, clause: str, *values: object) -> tuple[Job, ...]:
        rows = self._database().execute(f"SELECT {_COLUMNS} FROM jobs {clause}", values)
        return tuple(_job(row) for row in rows)

    def _update(self, job: Job, assignments: str, *values: object) -> bool:
        """Write to a job under its lease; False when it is not held any more."""
        with self._writing() as database:
            changed = database.execute(
                f"UPDATE jobs SET {assignments} WHERE {_HELD}", (*values, job.id, job.worker)
            )
            return changed.rowcount == 1

    def _give_back(self, database: sqlite3.Connection, which: str, value: object) -> None:
        held = f"state = '{RUNNING}' AND {which}"
        now = time.time()
        database.execute(
            f"UPDATE jobs SET state = 'stopped', ended = ? WHERE {held} AND stop_requested", (now, value)
        )
        database.execute(
            f"UPDATE jobs SET state = 'failed', ended = ?, error = ? WHERE {held} AND attempts >= ?",
            (now, _LOST_TWICE, value, MOST_ATTEMPTS),
        )
        database.execute(
            f"UPDATE jobs SET state = 'queued', worker = NULL, lease = NULL WHERE {held}", (value,)
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start, so what it reads stays true."""
        database = self._database()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def _database(self) -> sqlite3.Connection:
        database: sqlite3.Connection | None = getattr(self._local, "database", None)
        if database is None:
            database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            self._local.database = database
        return database


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


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS.split(", "), row, strict=True))
    for name in ("request", "options", "progress", "result"):
        values[name] = json.loads(values[name])
    return Job(**{**values, "stop_requested": bool(values["stop_requested"])})
