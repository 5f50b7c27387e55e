"""The SQLite file under a queue: its tables, how older ones grow, one connection per thread."""

import json
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.jobs.job import Job

BUSY_SECONDS = 15.0

_TABLES = (
    """CREATE TABLE IF NOT EXISTS jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL, request TEXT NOT NULL, options TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL,
    worker TEXT, lease REAL, attempts INTEGER NOT NULL DEFAULT 0, stop_requested INTEGER NOT NULL DEFAULT 0,
    output TEXT, progress TEXT NOT NULL DEFAULT '{}', preview TEXT, result TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
)""",
    "CREATE TABLE IF NOT EXISTS unloading (requested REAL NOT NULL, done REAL)",  # one row, or none
    "CREATE TABLE IF NOT EXISTS queue_pause (since REAL NOT NULL)",  # one row, or none
    "CREATE TABLE IF NOT EXISTS suspects (kind TEXT, name TEXT, reason TEXT, PRIMARY KEY (kind, name))",
)
# What the table of jobs got after its first version; a queue file of then gets it when it is opened.
_LATER_COLUMNS = {
    "position": "REAL NOT NULL DEFAULT 0",
    "pause_requested": "INTEGER NOT NULL DEFAULT 0",
    "attention": "TEXT",
    "folder": "TEXT",
    "ways": "TEXT NOT NULL DEFAULT '{}'",
    "notes": "TEXT NOT NULL DEFAULT '[]'",
    "owner": "TEXT",
    "blocking": "INTEGER NOT NULL DEFAULT 0",
    "failure": "TEXT NOT NULL DEFAULT '{}'",
}
# Workers ask several times a second whether a job waits, among thousands that ended.
_INDEXES = (
    "CREATE INDEX IF NOT EXISTS jobs_by_state ON jobs (state, position)",
    "CREATE INDEX IF NOT EXISTS jobs_by_end ON jobs (ended)",
)
_COLUMNS = tuple(item.name for item in fields(Job))
_MAPPINGS = ("request", "options", "progress", "result", "ways", "failure")
_FLAGS = ("stop_requested", "pause_requested", "blocking")


class QueueDatabase:
    """The file `path`. One object serves many threads; each gets a connection of its own.

    Opening it raises UserError when the file can't be made or is no queue.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._local = threading.local()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.writing() as database:
                for table in _TABLES:
                    database.execute(table)
                _add_columns(database)
                for index in _INDEXES:
                    database.execute(index)
        except (OSError, sqlite3.Error) as error:
            reason = getattr(error, "strerror", None) or error
            problem = f"the queue can't be kept in the output folder: {reason}"
            fix = "Choose another output folder."
            raise UserError(problem, value=str(self.path), fix=fix) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction that holds the write lock from its start, so what it reads stays true."""
        database = self.reading()
        database.execute("BEGIN IMMEDIATE")
        try:
            yield database
        except BaseException:
            database.execute("ROLLBACK")
            raise
        database.execute("COMMIT")

    def reading(self) -> sqlite3.Connection:
        """This thread's connection."""
        database: sqlite3.Connection | None = getattr(self._local, "database", None)
        if database is None:
            database = sqlite3.connect(self.path, timeout=BUSY_SECONDS, isolation_level=None)
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            self._local.database = database
        return database

    def select(self, clause: str, *values: object) -> tuple[Job, ...]:
        """The jobs that the clause (WHERE, ORDER BY, ...) picks."""
        rows = self.reading().execute(f"SELECT {', '.join(_COLUMNS)} FROM jobs {clause}", values)
        return tuple(_job(row) for row in rows)


def _add_columns(database: sqlite3.Connection) -> None:
    present = {row[1] for row in database.execute("PRAGMA table_info(jobs)")}
    for name, kind in _LATER_COLUMNS.items():
        if name not in present:
            database.execute(f"ALTER TABLE jobs ADD COLUMN {name} {kind}")
    if "position" not in present:
        database.execute("UPDATE jobs SET position = id")


def _job(row: tuple[Any, ...]) -> Job:
    values = dict(zip(_COLUMNS, row, strict=True))
    for name in _MAPPINGS:
        values[name] = json.loads(values[name])
    values["notes"] = tuple(json.loads(values["notes"]))
    return Job(**{**values, **{name: bool(values[name]) for name in _FLAGS}})
