"""The queue as the visitor may see it whose event is being handled: all of it, or a guest's own jobs.

Every event of the page reads and writes the queue through this store, so no event needs to ask who is there.
"""

import json
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr

from ui.guests import current_visitor
from ui.logins import Accounts
from ui.texts import say
from wanvideo.jobs.job import Job
from wanvideo.jobs.store import JobStore
from wanvideo.request import REQUEST_FIELDS, GenerationRequest, RuntimeOptions, read_request

OwnJobs: TypeAlias = dict[int, tuple[float, str]]

MOST_GUEST_JOBS = 10  # that wait or run at a time
_SHARED_TABLES = ("unloading", "queue_pause", "suspects")
_OPEN = "state IN ('queued', 'running', 'paused')"


class VisitorStore(JobStore):
    """A JobStore for the page. `inputs` are the folders whose files a request may name, the first that of the
    results: the engine would read any file of this machine for whoever may see the page.

    Raises gr.Error, inside an event, for what this visitor may not do; nothing is written then.
    """

    def __init__(self, path: str | Path, accounts: Accounts, inputs: Sequence[Path]) -> None:
        self._accounts = accounts
        self._results, *self._open = (folder.resolve() for folder in inputs)
        super().__init__(path)

    def select(self, clause: str, *values: object) -> tuple[Job, ...]:
        """The jobs that the clause picks, for a guest those of his own."""
        jobs, guest = super().select(clause, *values), self._guest()
        return jobs if guest is None else tuple(job for job in jobs if job.owner == guest)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction. A guest's is undone when it changed what is not theirs, moved a job forward, or
        wrote a request for files that are not theirs.
        """
        guest = self._guest()
        with super().writing() as database:
            before = _seen_by_others(database, guest) if guest else None
            jobs = _own_jobs(database, guest) if guest else {}
            yield database
            if guest is None:
                return
            if before != _seen_by_others(database, guest):
                raise refusal(say("guest_refused"))
            now = _own_jobs(database, guest)
            if any(new < old for old, new in zip(_places(jobs, jobs), _places(now, jobs), strict=False)):
                raise refusal(say("guest_refused"))
            for number, (_, request) in now.items():
                if number not in jobs or request != jobs[number][1]:
                    self._check_inputs(read_request(json.loads(request)), guest)

    def add(self, request: GenerationRequest, options: RuntimeOptions, owner: str | None = None) -> int:
        """Put a job at the end of the queue; a guest's is marked as theirs."""
        guest = self._guest()
        self._check_inputs(request, guest)
        if guest is not None and len(self.select(f"WHERE {_OPEN}")) >= MOST_GUEST_JOBS:
            raise refusal(say("guest_full", count=MOST_GUEST_JOBS))
        return super().add(request, options, guest or owner)

    def guest_may_read(self, path: Path) -> bool:
        """Whether the resolved `path` is a guest's to read, as far as it lies among the results."""
        guest = self._accounts.guest
        if not path.is_relative_to(self._results) or any(map(path.is_relative_to, self._open)):
            return True
        return guest is not None and self._is_made_for(path, guest.name)

    def _check_inputs(self, request: GenerationRequest, guest: str | None) -> None:
        for file in input_files(request):
            if not self._may_use(file, guest):
                raise refusal(say("input_refused", name=file.name))

    def _may_use(self, file: Path, guest: str | None) -> bool:
        path = file.resolve()
        if any(map(path.is_relative_to, self._open)):
            return True
        return path.is_relative_to(self._results) and (guest is None or self._is_made_for(path, guest))

    def _is_made_for(self, path: Path, guest: str) -> bool:
        jobs = super().select("WHERE owner = ?", guest)
        results = {Path(job.result["output"]).resolve() for job in jobs if job.result.get("output")}
        folders = [Path(job.folder).resolve() for job in jobs if job.folder]
        return path in results or any(map(path.is_relative_to, folders))

    def _guest(self) -> str | None:
        name = current_visitor()
        return name if self._accounts.is_guest(name) else None


def _seen_by_others(database: sqlite3.Connection, guest: str) -> list[Any]:
    """Every row that is not the guest's."""
    rows = database.execute("SELECT * FROM jobs WHERE owner IS NOT ? ORDER BY id", (guest,)).fetchall()
    return [rows, *(database.execute(f"SELECT * FROM {table}").fetchall() for table in _SHARED_TABLES)]


def _own_jobs(database: sqlite3.Connection, guest: str) -> OwnJobs:
    """Place in the queue and request of each job of the guest."""
    rows = database.execute("SELECT id, position, request FROM jobs WHERE owner = ?", (guest,))
    return {number: (position, request) for number, position, request in rows}


def _places(jobs: OwnJobs, known: Collection[int]) -> list[float]:
    """The places that the known ones of `jobs` hold, whichever holds which."""
    return sorted(position for number, (position, _) in jobs.items() if number in known)


def refusal(sentence: str) -> gr.Error:
    """A sentence for the visitor, as a toast on the page and as the answer to a script."""
    return gr.Error(sentence, print_exception=False)


def input_files(request: GenerationRequest) -> list[Path]:
    """Every file that the request names, models aside."""
    given = [getattr(request, name) for name, row in REQUEST_FIELDS.items() if row.kind in ("path", "paths")]
    several = [(value,) if isinstance(value, str) else value for value in given if value]
    return [Path(file) for files in several for file in files]
