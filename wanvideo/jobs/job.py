"""One row of the queue as the page and the worker read it, and the places where a queue keeps its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

STATES = ("queued", "running", "paused", "done", "failed", "stopped")
QUEUED, RUNNING, PAUSED, DONE, FAILED, STOPPED = STATES

# Why a job failed: the memory ran out, a UserError said so, the card broke, or the program is at fault.
ERROR_KINDS = ("memory", "input", "card", "other")
MEMORY, INPUT, CARD, OTHER = ERROR_KINDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A snapshot of one row. Times are Unix seconds.

    `request` and `options` are the mappings of `request.to_mapping`, checked again by whoever runs them, so a
    row that an older version wrote can always be listed. `progress` is the last ProgressEvent with fraction,
    seconds_per_step and eta; `result` holds output, effective, notes, seconds and stages of a finished job.

    Jobs wait in the order of `position`. `attention` is the backend that was chosen for a job after it was
    queued. `folder` is where its finished windows lie, `ways` what computed them; `notes` tells what
    happened to it. `owner` is the login that queued it, None for the owner of the page. `blocking`: it runs
    with launches that wait, so that a CUDA error names the right line. `failure` holds what is to be known of
    a failed job beside its sentence: `kind`, and for MEMORY width, height and frames (those at a time).
    """

    id: int
    state: str
    request: Mapping[str, Any]
    options: Mapping[str, Any]
    created: float
    position: float = 0.0
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    attempts: int = 0
    stop_requested: bool = False
    pause_requested: bool = False
    output: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    preview: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""
    attention: str | None = None
    folder: str | None = None
    ways: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    owner: str | None = None
    blocking: bool = False
    failure: Mapping[str, Any] = field(default_factory=dict)

    @property
    def error_kind(self) -> str:
        """One of ERROR_KINDS for a failed job; a row that an older version wrote has none."""
        return str(self.failure.get("kind", OTHER))

    @property
    def windows(self) -> tuple[Path, ...]:
        """The video files of its finished windows, in order; `JobFolder` names each when it is complete."""
        return tuple(sorted(Path(self.folder).glob("window_*.mp4"))) if self.folder else ()


def queue_file(output_dir: str | Path) -> Path:
    """The queue that belongs to an output folder."""
    return Path(output_dir) / "jobs" / "queue.sqlite"
