"""One row of the queue as the page and the worker read it, and the places where a queue keeps its files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

QUEUED, RUNNING, DONE, FAILED, STOPPED = "queued", "running", "done", "failed", "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A snapshot of one row. Times are Unix seconds.

    `request` and `options` are the mappings of `request.to_mapping`, checked again by whoever runs them, so a
    row that an older version wrote can always be listed. `progress` is the last ProgressEvent with fraction,
    seconds_per_step and eta; `result` holds output, effective, notes, seconds and stages of a finished job.
    """

    id: int
    state: str
    request: Mapping[str, Any]
    options: Mapping[str, Any]
    created: float
    started: float | None = None
    ended: float | None = None
    worker: str | None = None
    attempts: int = 0
    stop_requested: bool = False
    output: str | None = None
    progress: Mapping[str, Any] = field(default_factory=dict)
    preview: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)
    error: str = ""


def queue_file(output_dir: str | Path) -> Path:
    """The queue that belongs to an output folder."""
    return Path(output_dir) / "jobs" / "queue.sqlite"
