"""What a task measured: figures with their limits, and the clips to show; kept as one JSON file per task."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One measured number. `value` is None when no clip of the run could tell; such a limit is not met."""

    what: str
    value: float | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the limit is kept; None where the project has none."""
        if self.at_least is None and self.at_most is None:
            return None
        if self.value is None:
            return False
        low = self.at_least is None or self.value >= self.at_least
        return low and (self.at_most is None or self.value <= self.at_most)


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One mouth over the frames: what its sound asks for, in [0, 1], and what the video shows (any scale)."""

    true: tuple[float, ...]
    seen: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownClip:
    """A row of a contact sheet. Files are named relative to the folder of the run."""

    file: str
    caption: str
    note: str = ""
    target: str | None = None
    """A picture the clip should have arrived at."""
    tracks: tuple[Track, ...] = ()
    marks: tuple[int, ...] = ()
    """Frames at which something begins, as a window does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What one task found."""

    figures: tuple[Figure, ...]
    shown: tuple[ShownClip, ...]


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of what is there; None of nothing."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def seconds_figure(seconds: list[float], what: str = "seconds per clip, median") -> Figure:
    """The figure of how long clips took."""
    return Figure(what=what, value=statistics.median(seconds), unit="s")


def save_result(path: Path, result: Result, identity: str) -> None:
    """Write `result`; `identity` names the weights and settings it was measured with."""
    text = json.dumps({"identity": identity, **asdict(result)}, indent=1)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def load_result(path: Path, identity: str) -> Result | None:
    """The result of an earlier run; None without one, or when it was measured with something else."""
    if not path.exists():
        return None
    values = json.loads(path.read_text(encoding="utf-8"))
    if values["identity"] != identity:
        return None
    return Result(
        figures=tuple(Figure(**item) for item in values["figures"]),
        shown=tuple(_shown(item) for item in values["shown"]),
    )


def _shown(item: dict[str, Any]) -> ShownClip:
    tracks = tuple(Track(true=tuple(track["true"]), seen=tuple(track["seen"])) for track in item["tracks"])
    return ShownClip(**{**item, "tracks": tracks, "marks": tuple(item["marks"])})
