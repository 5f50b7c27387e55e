"""Where the time of a job goes, and the events that tell about it."""

import logging
import time
from collections.abc import Callable
from typing import Any

from wanvideo.request import ProgressEvent

log = logging.getLogger(__name__)

SAY_SECONDS = 0.5  # between two words about a model that is being loaded
Progress = Callable[[ProgressEvent], None]


def reporter(say: Callable[[str], None], work: str, things: str) -> Callable[[int, int], None]:
    """A callback (done, all) that says how far the work is, a few times a second; `say` may raise to stop
    it.
    """
    said = time.monotonic()

    def report(done: int, total: int) -> None:
        nonlocal said
        if time.monotonic() - said >= SAY_SECONDS:
            said = time.monotonic()
            say(f"{work}: {done} of {total} {things}")
            log.info("[LOAD] %s: %d of %d %s", work, done, total, things)

    return report


class StageClock:
    """Announces stages and steps to `progress`, which may raise Cancelled, and adds up the seconds of each
    stage.
    """

    def __init__(self, progress: Progress, windows: int) -> None:
        self._progress = progress
        self._windows = windows
        self._window = 0
        self._begun = self._entered = time.perf_counter()
        self._stage: str | None = None
        self._seconds: dict[str, float] = {}

    @property
    def stage(self) -> str:
        """The one that goes on; empty before the first."""
        return self._stage or ""

    def enter(self, stage: str) -> None:
        """A new stage begins."""
        self._close()
        self._stage = stage
        self._progress(ProgressEvent(stage=stage, window=self._window, windows=self._windows))

    def enter_window(self, index: int) -> None:
        """Later stages belong to window `index`."""
        self._window = index

    def step(self, done: int, steps: int, preview: Any = None) -> None:
        """`done` of `steps` denoising steps of this window are made."""
        self._progress(
            ProgressEvent(
                stage=self._stage or "",
                window=self._window,
                windows=self._windows,
                step=done,
                steps=steps,
                preview=preview,
            )
        )

    def say(self, message: str) -> None:
        """Something worth knowing happens within the current stage."""
        self._progress(
            ProgressEvent(
                stage=self._stage or "", window=self._window, windows=self._windows, message=message
            )
        )

    def apart(self, stage: str) -> Callable[[float], None]:
        """A callback that takes seconds from the stage that goes on and counts them as those of `stage`: work
        that is done once tells nothing of the next job.
        """

        def count(seconds: float) -> None:
            self._seconds[stage] = self._seconds.get(stage, 0.0) + seconds
            self._entered += seconds

        return count

    def stages(self) -> dict[str, float]:
        """Seconds per stage so far; ends the current one."""
        self._close()
        self._stage = None
        return {stage: round(seconds, 3) for stage, seconds in self._seconds.items()}

    def total(self) -> float:
        """Seconds since the job began."""
        return time.perf_counter() - self._begun

    def _close(self) -> None:
        now = time.perf_counter()
        if self._stage is not None:
            self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + now - self._entered
        self._entered = now
