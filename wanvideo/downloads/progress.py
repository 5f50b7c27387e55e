"""How far a download is: events with pace and time left."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

TELL_SECONDS = 0.1
WINDOW_SECONDS = 15.0  # the pace is that of the last seconds, not of a start that may be hours ago


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadEvent:
    """One sign of life. `done` of `total` bytes of all the files; `rate` in bytes a second, None at first.

    `note` is a sentence while something else happens than data arriving.
    """

    file: str
    done: int
    total: int
    rate: float | None = None
    seconds_left: float | None = None
    note: str = ""

    @property
    def words(self) -> str:
        """For people: "3.20 of 16.64 GB, 45 MB/s, 5 min left", or the note."""
        if self.note:
            return self.note
        text = f"{self.done / 1e9:.2f} of {self.total / 1e9:.2f} GB"
        if self.rate is None or self.seconds_left is None:
            return text
        return f"{text}, {self.rate / 1e6:.1f} MB/s, {_duration(self.seconds_left)} left"


Progress = Callable[[DownloadEvent], None]  # stops the download by raising Cancelled


class Meter:
    """Counts bytes over all files of a download and tells `progress`."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total = progress, total
        self._file, self._before, self._here = "", 0, 0
        self._arrivals: deque[tuple[float, int]] = deque()
        self._told = 0.0

    def begin(self, file: str, before: int, here: int) -> None:
        """A file begins: `before` bytes of the total are done with those before it, `here` bytes of it are
        on disk from another time.
        """
        self._file, self._before, self._here = file, before, here
        self._arrivals.clear()
        self._arrivals.append((time.monotonic(), here))
        self.say("")

    def at(self, done: int) -> None:
        """`done` bytes of this file are on disk."""
        now = time.monotonic()
        if done < self._here:
            self._arrivals.clear()  # it began again
        self._here = done
        if now - self._told < TELL_SECONDS:
            return
        self._told = now
        self._arrivals.append((now, done))
        while now - self._arrivals[0][0] > WINDOW_SECONDS:
            self._arrivals.popleft()
        self.say("")

    def say(self, note: str) -> None:
        """Still alive; `note` says what else happens."""
        done, rate = self._before + self._here, self._rate()
        left = (self._total - done) / rate if rate else None
        self._progress(
            DownloadEvent(
                file=self._file, done=done, total=self._total, rate=rate, seconds_left=left, note=note
            )
        )

    def _rate(self) -> float | None:
        if len(self._arrivals) < 2:
            return None
        (begun, first), (ended, last) = self._arrivals[0], self._arrivals[-1]
        return (last - first) / (ended - begun) if ended > begun and last > first else None


def _duration(seconds: float) -> str:
    minutes = seconds / 60
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 90 else f"{minutes / 60:.1f} h"
