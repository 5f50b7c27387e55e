"""Progress for a terminal (one line that is rewritten) or for a log (one line per stage)."""

import time
from typing import TextIO

from wanvideo.request import ProgressEvent

WIDTH = 24  # characters of the bar itself


class ProgressBar:
    """A progress callback. Times are measured from the first step of a stage, so that loading does not count."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewrites = stream.isatty()
        self._stage = ""
        self._begun = 0.0
        self._done_before = 0

    def __call__(self, event: ProgressEvent) -> None:
        """Show one event."""
        done, total = _steps_done(event), event.steps * event.windows
        if event.stage != self._stage:
            self._stage, self._begun, self._done_before = event.stage, time.perf_counter(), done
            if not self._rewrites:
                self._write(f"{_place(event)} {event.message}".rstrip() + "\n")
        if self._rewrites:
            self._write(f"\r\x1b[K{_place(event)}{self._steps(event, done, total)} {event.message}".rstrip())

    def close(self) -> None:
        """End the rewritten line, so that what is printed next has its own."""
        if self._rewrites and self._stage:
            self._write("\n")

    def _steps(self, event: ProgressEvent, done: int, total: int) -> str:
        if not total:
            return ""
        filled = WIDTH * done // total
        text = f" [{'#' * filled}{'.' * (WIDTH - filled)}] step {event.step}/{event.steps}"
        made = done - self._done_before
        if made > 0:
            pace = (time.perf_counter() - self._begun) / made
            text += f", {pace:.2f} s/step, {_clock(pace * (total - done))} left"
        return text

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _steps_done(event: ProgressEvent) -> int:
    return event.window * event.steps + event.step


def _place(event: ProgressEvent) -> str:
    return event.stage + (f", window {event.window + 1}/{event.windows}" if event.windows > 1 else "")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
