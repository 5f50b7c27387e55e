"""Copies to the card: beside the computing, on streams of their own, or plainly in its line."""

from collections.abc import Sequence

import torch
from torch import Tensor

from wanvideo.placement.host_block import HostBlock
from wanvideo.placement.timing import BlockTimes


class PlainLanes:
    """Every copy stands in the line of the computing; for a CPU, too."""

    def __init__(self, blocks: Sequence[HostBlock], slots: Sequence[Tensor]) -> None:
        self._blocks, self._slots = blocks, slots

    def copy(self, item: int, slot: int, _lane: int, /) -> None:
        """See `Lanes`."""
        self._blocks[item].copy_to(self._slots[slot], non_blocking=False)

    def await_copy(self, slot: int) -> None:
        """It was done before anything else was queued."""

    def computed(self, slot: int) -> None:
        """The next copy stands behind it in the same line."""

    def close(self) -> None:
        """Nothing is under way."""


class StreamLanes:
    """Copies on streams of their own. Streams wait for events of each other; the host waits for nothing."""

    def __init__(
        self,
        blocks: Sequence[HostBlock],
        slots: Sequence[Tensor],
        lanes: int,
        times: BlockTimes | None = None,
    ) -> None:
        self._blocks, self._slots, self._times = blocks, slots, times
        device = slots[0].device
        self._computing = torch.cuda.current_stream(device)
        self._lanes = [torch.cuda.Stream(device) for _ in range(lanes)]
        self._copied = [torch.cuda.Event() for _ in slots]
        self._free = [torch.cuda.Event() for _ in slots]
        for event in self._free:  # the slots' memory may have been something else's a moment ago
            event.record(self._computing)

    def copy(self, item: int, slot: int, lane: int, /) -> None:
        """See `Lanes`."""
        stream = self._lanes[lane]
        stream.wait_event(self._free[slot])
        with torch.cuda.stream(stream):
            if self._times is not None:
                self._times.copying(stream)
            self._blocks[item].copy_to(self._slots[slot], non_blocking=True)
            if self._times is not None:
                self._times.copied(item, stream)
        self._copied[slot].record(stream)

    def await_copy(self, slot: int) -> None:
        """See `Lanes`."""
        self._computing.wait_event(self._copied[slot])

    def computed(self, slot: int) -> None:
        """See `Lanes`."""
        self._free[slot].record(self._computing)

    def close(self) -> None:
        """Until the last copies are over: the memory on both of their ends may be used otherwise then."""
        for stream in self._lanes:
            stream.synchronize()
