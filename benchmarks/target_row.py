"""What a target is: a figure, beside it the named peer's of the same run, and what it has to reach."""

import gc
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from benchmarks.measuring import reset_peak
from benchmarks.report import Report, Row, read_report
from wanvideo.hardware import Hardware

QUALITY = Path(__file__).parents[1] / "docs" / "quality.json"
Kept = TypeVar("Kept")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One measurement: `value` and the peer's in `unit`, and their `ratio` as the goal has it. `holds`: what
    the goal asks beside the figure. `quality` says what the result is worth, `how` what really ran.
    """

    value: float | str
    unit: str = ""
    peer: float | None = None
    ratio: float | None = None
    holds: bool = True
    quality: str = ""
    how: str = ""


Judge: TypeAlias = Callable[[Found], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """What has to be reached, in words and as a function."""

    text: str
    is_met: Judge


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A row. `needs_card`: without one nothing is measured. `needs`: rows that it is computed from."""

    name: str
    measure: Callable[["Bench"], Found]
    goal: Goal | None = None
    peer: str = ""
    needs_card: bool = True
    needs: tuple[str, ...] = ()

    @property
    def words(self) -> set[str]:
        """What chooses it among others."""
        return {self.name, *self.name.replace(",", "").split()}


class Unmeasured(Exception):
    """Why a row has no figure on this machine, in words for people."""


class Bench:
    """What the rows share: the machine, the report with earlier rows, and what one of them built for those
    that come next.
    """

    def __init__(self, machine: Hardware, report: Report, *, quick: bool) -> None:
        self.machine, self.quick, self._report = machine, quick, report
        self._kept: tuple[str, Any] | None = None

    @property
    def files(self) -> Path:
        """The folder of large files."""
        return self._report.files

    def keep(self, name: str, build: Callable[[], Kept]) -> Kept:
        """What was built last under that name, else built now; what another name has goes first: there may
        be no room for both.
        """
        if self._kept is None or self._kept[0] != name:
            self.forget()
            self._kept = (name, build())
        kept: Kept = self._kept[1]
        return kept

    def forget(self) -> None:
        """Nothing is kept; its memory is free."""
        self._kept = None
        gc.collect()
        reset_peak()

    def rows_of(self, part: str) -> list[Row]:
        """What another part measured on this kind of machine, beside this report."""
        file = self._report.file.with_name(f"{part}.json")
        if not file.exists():
            return []
        other = read_report(file)
        return list(other["rows"]) if other["device"] == self._report.device else []

    def row(self, name: str) -> Row:
        """The figures of an earlier row. Raises Unmeasured where it has none."""
        row = next((row for row in self._report.rows if row["target"] == name and "value" in row), None)
        if row is None:
            raise Unmeasured(f"is computed from the row {name}, which has no figure")
        return row


def ratio_at_least(limit: float) -> Judge:
    """The ratio, and what else is asked."""
    return lambda found: found.holds and found.ratio is not None and found.ratio >= limit


def ratio_at_most(limit: float) -> Judge:
    """The ratio, and what else is asked."""
    return lambda found: found.holds and found.ratio is not None and found.ratio <= limit


def value_at_most(limit: float) -> Judge:
    """The value, and what else is asked."""
    return lambda found: found.holds and isinstance(found.value, (int, float)) and found.value <= limit


def pocket_quality(mode: str) -> str:
    """What the mode costs on the pocket model, as `docs/quality.json` has it; the fast modes as their own
    code computes them on a processor.
    """
    found = [row for row in _quality_rows() if row["name"] in (mode, f"emulated_{mode}") and row["psnr"]]
    if not found:
        return ""
    return f"pocket model: PSNR {found[0]['psnr']:.1f} dB, lip-sync {found[0]['lip_sync']:.3f}"


@cache
def _quality_rows() -> list[Row]:
    rows = [row for machine in json.loads(QUALITY.read_text("utf-8")) for row in machine["rows"]]
    return [row for row in rows if row["effective"] == row["name"]]
