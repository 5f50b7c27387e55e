"""Rows of figures in a JSON file that is written anew after each row: what was measured is never lost."""

import json
import logging
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks.measuring import wait
from wanvideo.hardware import Hardware
from wanvideo.proof.versions import versions_of

log = logging.getLogger("benchmarks")
Row: TypeAlias = dict[str, Any]
REASON = "reason"  # of a row: why it has no figures
LONGEST_REASON = 300


class CardLost(RuntimeError):
    """The card answers no call of this process any more; a new process can go on with the next row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """Where, when and how the rows of a file came about."""

    command: str
    machine: Hardware
    quick: bool = False

    def as_json(self) -> Row:
        """With the versions of all that was running."""
        return {
            "command": self.command,
            "quick": self.quick,
            "date": f"{datetime.now():%Y-%m-%d}",
            "device": self.machine.gpus[0].name if self.machine.device == "cuda" else self._processor,
            "versions": versions_of(self.machine),
        }

    @property
    def _processor(self) -> str:
        return f"{self.machine.cores} CPU cores"


class Report:
    """One part's rows; a row is known by its key. Large files that it needs are kept in `files`."""

    def __init__(self, file: Path, head: Head, *, resume: bool = False, files: Path | None = None) -> None:
        self.file, self._head = file, head.as_json()
        self.files = files or file.parent / "files"
        self.rows: list[Row] = read_report(file)["rows"] if resume and file.exists() else []
        file.parent.mkdir(parents=True, exist_ok=True)

    @property
    def device(self) -> str:
        """What the rows are measured on."""
        return str(self._head["device"])

    def has(self, key: Mapping[str, Any]) -> bool:
        """Whether there is a row of that key."""
        return any(_is_of(row, key) for row in self.rows)

    def failed(self, key: Mapping[str, Any]) -> bool:
        """Whether the row of that key has no figures."""
        return any(REASON in row for row in self.rows if _is_of(row, key))

    def add(self, key: Row, measure: Callable[[], Row]) -> Row:
        """The row of `key` with what `measure` finds, or with the reason why it found nothing; in the file.

        A row that there is already is replaced in its place. Raises CardLost when the failure has taken the
        card along.
        """
        log.info("%s ...", ", ".join(map(str, key.values())))
        try:
            found, lost = measure(), False
        except Exception as error:  # whatever a foreign kernel raises: it is the row's answer
            log.info("%s", traceback.format_exc())
            found, lost = {REASON: short_reason(error)}, not _card_works()
        row = {**key, **found}
        places = [place for place, other in enumerate(self.rows) if _is_of(other, key)]
        self.rows[slice(places[0], places[0] + 1) if places else slice(len(self.rows), None)] = [row]
        self._write()
        log.info("    %s", ", ".join(f"{name} {_brief(value)}" for name, value in found.items()))
        if lost:
            raise CardLost(found[REASON])
        return row

    def _write(self) -> None:
        text = json.dumps({**self._head, "rows": self.rows}, indent=1)
        whole = self.file.with_suffix(".part")
        whole.write_text(text + "\n", encoding="utf-8")
        whole.replace(self.file)


def read_report(file: Path) -> Row:
    """The head's fields and `rows`."""
    content: Row = json.loads(file.read_text(encoding="utf-8"))
    return content


def figures(rows: list[Row], **key: Any) -> Iterator[Row]:
    """The rows of that key that have figures."""
    return (row for row in rows if REASON not in row and _is_of(row, key))


def _is_of(row: Row, key: Mapping[str, Any]) -> bool:
    return all(row.get(name) == value for name, value in key.items())


def short_reason(error: Exception) -> str:
    """One line of at most LONGEST_REASON characters."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= LONGEST_REASON else f"{text[:LONGEST_REASON]} ..."


def _card_works() -> bool:
    try:
        wait()
    except RuntimeError as error:
        log.warning("the card is lost: %s", error)
        return False
    return True


def _brief(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
