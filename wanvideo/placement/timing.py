"""What `debug_mode` shows: for each swapped block the time to copy it, to wait for it and to compute it."""

import logging
from dataclasses import dataclass, field
from typing import TypeAlias

import torch

log = logging.getLogger(__name__)

_Span: TypeAlias = tuple[torch.cuda.Event, torch.cuda.Event]


@dataclass(slots=True)
class _Times:
    copies: list[_Span] = field(default_factory=list)
    waits: list[_Span] = field(default_factory=list)
    passes: list[_Span] = field(default_factory=list)


class BlockTimes:
    """Collects events on the card; nothing is read before `report`, so nothing waits while it runs."""

    def __init__(self, first: int, count: int) -> None:
        """`first` is the number of the first swapped block in its model."""
        self._first = first
        self._blocks = [_Times() for _ in range(count)]
        self._open: torch.cuda.Event | None = None

    def copying(self, stream: torch.cuda.Stream) -> None:
        """A copy begins."""
        self._open = _mark(stream)

    def copied(self, item: int, stream: torch.cuda.Stream) -> None:
        """That copy ends."""
        assert self._open is not None
        self._blocks[item].copies.append((self._open, _mark(stream)))

    def moment(self) -> torch.cuda.Event:
        """A moment in the line of the computing."""
        return _mark(torch.cuda.current_stream())

    def waited(self, item: int, since: torch.cuda.Event) -> torch.cuda.Event:
        """The block is there, which computing had come to need at `since`."""
        here = self.moment()
        self._blocks[item].waits.append((since, here))
        return here

    def computed(self, item: int, since: torch.cuda.Event) -> None:
        """A pass through the block that began at `since` is over."""
        self._blocks[item].passes.append((since, self.moment()))

    def report(self) -> None:
        """Log a line for each block: medians would hide a stall, so these are sums and counts."""
        torch.cuda.synchronize()
        for number, times in enumerate(self._blocks, start=self._first):
            if times.passes:
                log.info(
                    "block %d: copy %.1f ms, wait %.1f ms, compute %.1f ms (means of %d copies, %d passes)",
                    number,
                    _mean(times.copies),
                    _mean(times.waits),
                    _mean(times.passes),
                    len(times.copies),
                    len(times.passes),
                )


def _mark(stream: torch.cuda.Stream) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)
    event.record(stream)
    return event


def _mean(spans: list[_Span]) -> float:
    total: float = sum(begin.elapsed_time(end) for begin, end in spans)
    return total / max(len(spans), 1)
