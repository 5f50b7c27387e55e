"""What visitors' forms hold, kept in the queue's SQLite file over reloads and restarts."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from wanvideo.jobs.database import QueueDatabase

Kept: TypeAlias = Mapping[str, Any]  # JSON

_TABLE = """CREATE TABLE IF NOT EXISTS forms (
    owner TEXT, part TEXT, content TEXT NOT NULL, changed REAL NOT NULL, PRIMARY KEY (owner, part)
)"""


class FormStore(QueueDatabase):
    """The forms in the file `path`, by owner (a login, empty on an open page) and part of the form.

    Opening it raises UserError when the file can't be made or is no queue.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path)
        with self.writing() as database:
            database.execute(_TABLE)

    def keep(self, owner: str, parts: Mapping[str, Kept]) -> None:
        """Each part as it is now; the other parts stay."""
        rows = [(owner, part, json.dumps(content), time.time()) for part, content in parts.items()]
        with self.writing() as database:
            database.executemany("INSERT OR REPLACE INTO forms VALUES (?, ?, ?, ?)", rows)

    def read(self, owner: str) -> dict[str, Kept]:
        """Every part that was kept for the owner."""
        rows = self.reading().execute("SELECT part, content FROM forms WHERE owner = ?", (owner,))
        return {part: json.loads(content) for part, content in rows}

    def every(self) -> list[Kept]:
        """Each part of each owner."""
        return [json.loads(content) for (content,) in self.reading().execute("SELECT content FROM forms")]
