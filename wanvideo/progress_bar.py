"""Progress for a terminal (one line that is rewritten) or for a log (one line per stage), and stopping."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TextIO

from wanvideo.errors import Cancelled
from wanvideo.request import ProgressEvent

Progress = Callable[[ProgressEvent], None]

WIDTH = 24  # characters of the bar itself


class ProgressBar:
    """A progress callback. The pace is that of the stage at hand: loading and decoding do not count."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._rewrites = stream.isatty()
        self._place = ""
        self._begun = 0.0

    def __call__(self, event: ProgressEvent) -> None:
        """Show one event."""
        place = event.stage + (f", window {event.window + 1}/{event.windows}" if event.windows > 1 else "")
        is_new = place != self._place
        if is_new:
            self._place, self._begun = place, time.perf_counter()
        if self._rewrites:
            self._write(f"\r\x1b[K{place}{self._steps(event)} {event.message}".rstrip())
        elif is_new:
            self._write(f"{place} {event.message}".rstrip() + "\n")

    def close(self) -> None:
        """End the rewritten line, so that what is printed next has its own."""
        if self._rewrites and self._place:
            self._write("\n")
            self._place = ""

    def _steps(self, event: ProgressEvent) -> str:
        """The bar, the pace and the time left in all windows' steps."""
        if not event.steps:
            return ""
        filled = WIDTH * event.step // event.steps
        text = f" [{'#' * filled}{'.' * (WIDTH - filled)}] step {event.step}/{event.steps}"
        if not event.step:
            return text
        pace = (time.perf_counter() - self._begun) / event.step
        left = event.steps - event.step + (event.windows - event.window - 1) * event.steps
        return f"{text}, {pace:.2f} s/step, {_clock(pace * left)} left"

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


@contextmanager
def stoppable(show: Progress) -> Iterator[Progress]:
    """A progress callback that raises Cancelled after Ctrl+C or a polite kill; a second is at once."""
    asked: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def progress(event: ProgressEvent) -> None:
        if asked:
            raise Cancelled
        show(event)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield progress
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
