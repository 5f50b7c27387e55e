"""The queue as a SQLite file that the page and the workers share. Survives restarts and crashes.

A worker holds a running job by a lease: `claim` takes it, `renew` keeps it, and a lease that runs out gives
the job back to the queue. A worker's writes name it as the holder: one that lost its job can't touch it.
What a person asks of a job is in `orders`.
"""

import json
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from wanvideo.jobs.database import QueueDatabase
from wanvideo.jobs.job import DONE, FAILED, OTHER, PAUSED, QUEUED, RUNNING, STOPPED, Job
from wanvideo.proof.suspects import Suspect
from wanvideo.request import GenerationRequest, RuntimeOptions, to_mapping

LEASE_SECONDS = 20.0
MOST_ATTEMPTS = 2

_HELD = "id = ? AND worker = ? AND state = 'running'"
_OPEN = "state IN ('queued', 'running', 'paused')"
_UNCOUNT = "attempts = MAX(attempts - 1, 0)"
_FREE = "worker = NULL, lease = NULL, pause_requested = 0"
_NOTED = "notes = json_insert(notes, '$[#]', ?)"
_LOST_TWICE = "The program broke down twice while making this video; worker.log says how far it came."


class JobStore(QueueDatabase):
    """The queue in the file `path`. One object serves many threads; each gets a connection of its own.

    Opening it raises UserError when the file can't be made or is no queue.
    """

    def __init__(self, path: str | Path, *, lease_seconds: float = LEASE_SECONDS) -> None:
        super().__init__(path)
        self.lease_seconds = lease_seconds

    def add(self, request: GenerationRequest, options: RuntimeOptions, owner: str | None = None) -> int:
        """Put a job at the end of the queue; returns its number."""
        values = (
            QUEUED,
            json.dumps(to_mapping(request)),
            json.dumps(to_mapping(options)),
            time.time(),
            owner,
        )
        with self.writing() as database:
            row = database.execute(
                "INSERT INTO jobs (state, request, options, created, owner, position) "
                "VALUES (?, ?, ?, ?, ?, (SELECT COALESCE(MAX(position), 0) + 1 FROM jobs))",
                values,
            )
            return int(row.lastrowid or 0)

    def claim(self, worker: str, job_id: int | None = None) -> Job | None:
        """Take the first queued job under a lease, or that of `job_id`; None when there is none to take.

        Run-out leases come back first. While the queue is paused only a job that was named or is to be
        stopped is taken.
        """
        now = time.time()
        with self.writing() as database:
            self._give_back(database, "lease < ?", now)
            found = database.execute(
                "SELECT id FROM jobs WHERE state = 'queued' AND (id = ?1 OR ?1 IS NULL AND "
                "(stop_requested OR NOT EXISTS (SELECT 1 FROM queue_pause))) "
                "ORDER BY stop_requested DESC, position, id LIMIT 1",
                (job_id,),
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
        """Whether the worker still holds the job and nobody asked to stop or pause it. Cheap: asked once per
        step.
        """
        found = self.reading().execute(
            f"SELECT stop_requested OR pause_requested FROM jobs WHERE {_HELD}", (job.id, job.worker)
        )
        row = found.fetchone()
        return row is not None and not row[0]

    def held(self, job: Job) -> Job | None:
        """The job as it is now; None when the worker does not hold it any more."""
        jobs = self.select(f"WHERE {_HELD}", job.id, job.worker)
        return jobs[0] if jobs else None

    def progress(self, job: Job, event: Mapping[str, object], preview: Path | None = None) -> None:
        """Show how far the job is; without a new preview the last one stays."""
        shown = str(preview) if preview else None
        self._update(job, "progress = ?, preview = COALESCE(?, preview)", json.dumps(event), shown)

    def set_output(self, job: Job, output: Path) -> None:
        """Remember the name of the result, so that a second attempt takes up the same finished windows."""
        self._update(job, "output = ?", str(output))

    def set_windows(self, job: Job, folder: Path, ways: Mapping[str, object]) -> None:
        """Remember where the finished windows lie and what computes them."""
        self._update(job, "folder = ?, ways = ?", str(folder), json.dumps(ways))

    def set_request(self, job: Job, request: GenerationRequest) -> None:
        """Remember what was drawn for the job (its seed), which every attempt must share."""
        self._update(job, "request = ?", json.dumps(to_mapping(request)))

    def note(self, job: Job, sentence: str) -> None:
        """Something happened to the job that its owner should know."""
        self._update(job, _NOTED, sentence)

    def finish(self, job: Job, result: Mapping[str, object]) -> None:
        """The video is there; `result` is what its card shows."""
        self._update(job, "state = ?, ended = ?, result = ?", DONE, time.time(), json.dumps(result))

    def fail(self, job: Job, error: str, kind: str = OTHER, **facts: object) -> None:
        """The job ended with a sentence for the person who asked; `kind` and `facts` are what `Job.failure`
        tells of it.
        """
        failure = json.dumps({"kind": kind, **facts})
        assigned = "state = ?, ended = ?, error = ?, failure = ?"
        self._update(job, assigned, FAILED, time.time(), error, failure)

    def stop(self, job: Job, result: Mapping[str, object]) -> None:
        """The job ended because somebody asked for it; `result` is empty when nothing was finished."""
        self._update(job, "state = ?, ended = ?, result = ?", STOPPED, time.time(), json.dumps(result))

    def pause(self, job: Job) -> None:
        """The job waits until somebody resumes it; its finished windows stay."""
        self._update(job, f"state = ?, {_FREE}, {_UNCOUNT}", PAUSED)

    def release(self, job: Job) -> None:
        """Back to the queue, not counted as an attempt: the worker leaves in good order."""
        self._update(job, f"state = ?, {_FREE}, {_UNCOUNT}", QUEUED)

    def release_suspected(self, job: Job, suspect: Suspect, note: str) -> None:
        """Back to the queue after an error of the card. The suspect is not used until `clear_suspects`; as
        there are but a few to suspect, this is no attempt either.
        """
        self.suspect(suspect)
        self._update(job, f"state = ?, {_FREE}, {_UNCOUNT}, {_NOTED}", QUEUED, note)

    def suspect(self, suspect: Suspect) -> None:
        """No job uses it until `clear_suspects`."""
        values = (suspect.kind, suspect.name, suspect.reason)
        with self.writing() as database:
            database.execute("INSERT OR REPLACE INTO suspects (kind, name, reason) VALUES (?, ?, ?)", values)

    def suspects(self) -> tuple[Suspect, ...]:
        """What no job should use until the program is started again."""
        rows = self.reading().execute("SELECT kind, name, reason FROM suspects ORDER BY rowid")
        return tuple(Suspect(kind=kind, name=name, reason=reason) for kind, name, reason in rows)

    def clear_suspects(self) -> None:
        """The program starts anew: everything gets another chance."""
        with self.writing() as database:
            database.execute("DELETE FROM suspects")

    def forget_attempts(self, job: Job) -> None:
        """The job has come further than ever before, so what broke it until now counts no more."""
        self._update(job, "attempts = 0")

    def abandon(self, worker: str, *, counted: bool = True) -> None:
        """The worker is gone: its job goes back to the queue, or is given up on the last attempt.

        `counted` is False when the worker was ended on purpose, which says nothing against the job.
        """
        with self.writing() as database:
            if not counted:
                database.execute(
                    f"UPDATE jobs SET {_UNCOUNT} WHERE state = 'running' AND worker = ?", (worker,)
                )
            self._give_back(database, "worker = ?", worker)

    def request_stop(self, job_id: int) -> None:
        """A waiting job is stopped at once, a running one at its next step; an ended one is left alone.

        One that waits with finished windows is taken by the next free worker, which makes a file of them.
        """
        job = self.get(job_id)
        keeps = job is not None and bool(job.windows)
        with self.writing() as database:
            if not keeps:
                database.execute(
                    "UPDATE jobs SET state = 'stopped', ended = ? WHERE id = ? "
                    "AND state IN ('queued', 'paused')",
                    (time.time(), job_id),
                )
            database.execute(
                "UPDATE jobs SET stop_requested = 1, state = replace(state, 'paused', 'queued') "
                f"WHERE id = ? AND {_OPEN}",
                (job_id,),
            )

    def request_unload(self) -> float:
        """Every worker drops its models as soon as it has no job; returns the time of the request."""
        now = time.time()
        with self.writing() as database:
            database.execute("DELETE FROM unloading")
            database.execute("INSERT INTO unloading (requested) VALUES (?)", (now,))
        return now

    def unload_state(self) -> tuple[float | None, float | None]:
        """When unloading was last asked for, and when a worker did it; None where it was not."""
        row = self.reading().execute("SELECT requested, done FROM unloading").fetchone()
        return row or (None, None)

    def unloaded(self, requested: float) -> None:
        """A worker has done what was asked for at that time."""
        with self.writing() as database:
            database.execute("UPDATE unloading SET done = ? WHERE requested = ?", (time.time(), requested))

    def get(self, job_id: int) -> Job | None:
        """The job of that number."""
        jobs = self.select("WHERE id = ?", job_id)
        return jobs[0] if jobs else None

    def list(self, limit: int = 50) -> tuple[Job, ...]:
        """Every job that waits or runs and the `limit` that ended last, newest first."""
        ended = f"SELECT id FROM jobs WHERE NOT {_OPEN} ORDER BY ended DESC, id DESC LIMIT ?"
        return self.select(f"WHERE {_OPEN} OR id IN ({ended}) ORDER BY id DESC", limit)

    def waiting(self) -> tuple[Job, ...]:
        """The jobs that wait, paused ones too, in the order in which they will run."""
        return self.select("WHERE state IN ('queued', 'paused') ORDER BY position, id")

    def _update(self, job: Job, assignments: str, *values: object) -> bool:
        """Write to a job under its lease; False when it is not held any more."""
        with self.writing() as database:
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
            f"UPDATE jobs SET state = IIF(pause_requested, 'paused', 'queued'), {_FREE} WHERE {held}",
            (value,),
        )
