"""The progress callback of a job: tells the store, measures the pace, carries a stop into the pipeline."""

import time
from dataclasses import dataclass, fields
from pathlib import Path
from threading import Event
from typing import Any

from wanvideo.errors import Cancelled
from wanvideo.jobs.job import Job
from wanvideo.jobs.store import JobStore
from wanvideo.request import ProgressEvent

WRITE_SECONDS = 0.2
PREVIEW_QUALITY = 88


@dataclass(slots=True)
class Pace:
    """How far a job is and how fast, over all windows; the time left counts decoding in."""

    begun: float = 0.0
    first: int = -1
    last: float = 0.0
    done: int = -1
    total: int = 0
    seconds_per_step: float | None = None

    def measure(self, event: ProgressEvent, now: float) -> dict[str, float | None]:
        """`fraction` of all steps that is done, `seconds_per_step` of the latest one, `eta` in seconds."""
        if event.steps:
            self.total = event.windows * event.steps
            self._step(event.window * event.steps + event.step, now)
        fraction = max(self.done, 0) / self.total if self.total else event.window / event.windows
        return {"fraction": fraction, "seconds_per_step": self.seconds_per_step, "eta": self._eta(now)}

    def _eta(self, now: float) -> float | None:
        if not self.done > self.first >= 0:
            return None
        left = (self.last - self.begun) / (self.done - self.first) * (self.total - self.done)
        return max(0.0, left - (now - self.last))

    def _step(self, done: int, now: float) -> None:
        if self.first < 0:
            self.begun, self.first = now, done
        elif done > self.done:
            self.seconds_per_step = (now - self.last) / (done - self.done)
        else:
            return
        self.last, self.done = now, done


class JobReport:
    """Takes each ProgressEvent; raises Cancelled when the job is stopped or lost, or the worker leaves."""

    def __init__(self, store: JobStore, job: Job, leaving: Event) -> None:
        self._store, self._job, self._leaving = store, job, leaving
        self._pace = Pace()
        self._stage: tuple[str, int] | None = None
        self._written = 0.0
        self._denoised: int | None = None  # the window whose steps were made by this attempt

    def __call__(self, event: ProgressEvent) -> None:
        if self._leaving.is_set() or not self._store.may_continue(self._job):
            raise Cancelled
        self._count_window(event)
        now = time.monotonic()
        pace = self._pace.measure(event, now)
        stage = (event.stage, event.window)
        is_middle = stage == self._stage and event.step < event.steps
        if is_middle and now - self._written < WRITE_SECONDS:
            return
        self._stage, self._written = stage, now
        self._store.progress(self._job, {**_described(event), **pace}, self._save_preview(event.preview))

    def _count_window(self, event: ProgressEvent) -> None:
        """A window that was finished, not one that was found finished, gives the job its attempts back."""
        if self._denoised is not None and event.window > self._denoised:
            self._store.forget_attempts(self._job)
            self._denoised = None
        if event.steps:
            self._denoised = event.window

    def _save_preview(self, picture: Any) -> Path | None:
        """Write (height, width, 3) uint8 beside the queue; None keeps the last one."""
        if picture is None:
            return None
        from PIL import Image

        path = self._store.path.parent / f"preview_{self._job.id}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        Image.fromarray(picture).save(partial, format="JPEG", quality=PREVIEW_QUALITY)
        try:
            partial.replace(path)
        except PermissionError:  # Windows, while the page reads the last one
            return None
        return path


def _described(event: ProgressEvent) -> dict[str, Any]:
    return {item.name: getattr(event, item.name) for item in fields(event) if item.name != "preview"}
