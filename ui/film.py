"""The parts of a finished video: its windows, and the video that it went on from."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from wanvideo.jobs.job import Job
from wanvideo.media.probe import probe_video
from wanvideo.windows import plan_windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Frames of a finished video: those of its window `index`, or of the video that it went on from (-1)."""

    index: int
    first: int
    frames: int

    @property
    def end(self) -> int:
        """The frame after the last."""
        return self.first + self.frames


@dataclass(frozen=True, slots=True, kw_only=True)
class Film:
    """A finished video: its parts in order, and `frames`, as many as a whole one has. Where its job was
    stopped, `rest` is the window that would come next. `can_redo`: it can be made anew from any window on.
    """

    path: Path
    fps: float
    frames: int
    parts: tuple[Span, ...]
    rest: Span | None
    can_redo: bool

    @property
    def before(self) -> int:
        """Frames of the video that it went on from."""
        return self.parts[0].frames if self.parts[0].index < 0 else 0


def film_of(job: Job) -> Film | None:
    """The finished video of a job if it has several parts; None where it is not known how it was cut, or the
    file is gone. Raises UserError for a file that is no video any more.
    """
    ran, path = job.result.get("effective", {}), Path(job.result.get("output", ""))
    if "window_frames" not in ran or not path.is_file():
        return None
    planned, there = _parts(ran), _frames(path, path.stat().st_mtime_ns)
    parts = tuple(part for part in planned if part.end <= there)
    if len(planned) < 2 or not parts:
        return None
    return Film(
        path=path,
        fps=float(ran["fps"]),
        frames=ran.get("frames_before", 0) + ran["frames"],
        parts=parts,
        rest=next((part for part in planned if part.end > there), None),
        can_redo=not job.request.get("video"),  # each window has its picture from there
    )


def _parts(ran: Mapping[str, Any]) -> list[Span]:
    """As it was planned."""
    before, motion = ran.get("frames_before", 0), ran["motion_frames"]
    windows = plan_windows(ran["frames"], ran["window_frames"], motion, motion if before else 0)
    parts = [Span(index=-1, first=0, frames=before)] if before else []
    for window in windows:
        first = parts[-1].end if parts else 0
        parts.append(Span(index=window.index, first=first, frames=window.keep))
    return parts


@lru_cache(maxsize=64)
def _frames(path: Path, _modified: int) -> int:
    return probe_video(path).frames
