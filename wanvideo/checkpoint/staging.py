"""Tensors of mapped files on their way to a card: several threads read ahead into page-locked memory, and
each copies from there on a stream of its own, while the card still works on what came before.

A plain copy of a mapped tensor touches its pages in one thread, through a small buffer of the driver's, and
nothing is read meanwhile.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wanvideo.checkpoint.file_places import FilePlaces, read_into
from wanvideo.placement.host_buffer import HostBuffer

READERS = 16  # one core brings about 5 GB/s into page-locked memory, PCIe 5 takes 55
PIECE_BYTES = 32 << 20  # of page-locked memory for each reader
AHEAD_BYTES = 512 << 20  # on the card, of bundles that are not asked for yet
Bundle: TypeAlias = dict[str, Tensor]
_Bytes: TypeAlias = "np.ndarray[Any, np.dtype[np.uint8]]"
Fill: TypeAlias = Callable[[_Bytes], None]


class Lane(Protocol):
    """The way of one reader to the card."""

    def carry(self, fill: Fill, target: Tensor, free: Any) -> None:
        """Bring at most PIECE_BYTES to `target`, uint8, once the card has come to the moment `free`: `fill`
        puts them into memory of that size. On return they are there.
        """


class Card(Protocol):
    """Where tensors go."""

    def moment(self) -> Any:
        """All that the card was told to compute until now."""

    def empty(self, tensor: Tensor) -> Tensor:
        """Memory for a tensor of that kind. The card may still compute with what was in it before."""

    def lane(self) -> Lane:
        """Another way to it."""


def on_device(bundles: Iterable[Bundle], device: torch.device | str) -> Generator[Bundle, None, None]:
    """Each bundle with its tensors on `device`, dtypes and order as they were.

    For a card the following bundles are taken and read meanwhile, until they are more than AHEAD_BYTES.
    Whoever may stop early closes the iterator, which ends what is under way.
    """
    place = torch.device(device)
    if place.type != "cuda":
        for bundle in bundles:
            yield {name: tensor.to(place) for name, tensor in bundle.items()}
        return
    stage = Stage(CudaCard(place))
    try:
        yield from stage.bring(bundles)
    finally:
        stage.close()


@dataclass(slots=True)
class _Arriving:
    """A bundle that is on its way: its tensors on the card, and the pieces that are not there yet."""

    tensors: Bundle
    pieces: "list[Future[None]]"
    size: int

    def arrived(self) -> Bundle:
        for piece in self.pieces:
            piece.result()
        return self.tensors


class Stage:
    """The readers; each has a lane, made when it is first needed."""

    def __init__(self, card: Card) -> None:
        self._card = card
        count = min(READERS, os.cpu_count() or 1)
        self._lanes: SimpleQueue[Lane | None] = SimpleQueue()
        for _ in range(count):
            self._lanes.put(None)
        self._readers = ThreadPoolExecutor(count, thread_name_prefix="staging")
        self._places = FilePlaces()

    def bring(self, bundles: Iterable[Bundle]) -> Iterator[Bundle]:
        """See `on_device`."""
        waiting: deque[_Arriving] = deque()
        for bundle in bundles:
            waiting.append(self._begin(bundle))
            while len(waiting) > 1 and sum(item.size for item in waiting) > AHEAD_BYTES:
                yield waiting.popleft().arrived()
        while waiting:
            yield waiting.popleft().arrived()

    def close(self) -> None:
        """Wait for the pieces that are under way; the others are given up."""
        self._readers.shutdown(wait=True, cancel_futures=True)
        self._places.close()

    def _begin(self, bundle: Bundle) -> _Arriving:
        arriving = _Arriving({}, [], sum(tensor.nbytes for tensor in bundle.values()))
        for name, tensor in bundle.items():
            there = tensor.device.type != "cpu"
            arriving.tensors[name] = tensor if there else self._card.empty(tensor)
            if not there:
                arriving.pieces += self._begin_tensor(tensor.contiguous(), arriving.tensors[name])
        return arriving

    def _begin_tensor(self, source: Tensor, target: Tensor) -> "Iterator[Future[None]]":
        there, free, place = _bytes(target), self._card.moment(), self._places.find(source)
        content = _bytes(source).numpy()
        for first in range(0, len(content), PIECE_BYTES):
            piece = slice(first, first + PIECE_BYTES)
            fill = partial(_copy, content[piece]) if place is None else partial(read_into, place, first)
            yield self._readers.submit(self._carry, fill, there[piece], free)

    def _carry(self, fill: Fill, target: Tensor, free: Any) -> None:
        lane = self._lanes.get()
        try:
            lane = lane or self._card.lane()
            lane.carry(fill, target, free)
        finally:
            self._lanes.put(lane)


class CudaLane:
    """Page-locked memory, as much as the largest piece has needed, and a stream."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._memory = HostBuffer(0, pin=False)
        self._stream = torch.cuda.Stream(device)

    def carry(self, fill: Fill, target: Tensor, free: torch.cuda.Event) -> None:
        """See `Lane`."""
        if target.numel() > self._memory.tensor.numel():
            with torch.cuda.device(self._device):  # a reader's own device is the first one
                self._memory = HostBuffer(min(2 * target.numel(), PIECE_BYTES), pin=True)
        memory = self._memory.tensor[: target.numel()]
        fill(memory.numpy())
        self._stream.wait_event(free)
        with torch.cuda.stream(self._stream):
            target.copy_(memory, non_blocking=True)
        self._stream.synchronize()


class CudaCard:
    """An NVIDIA card."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def moment(self) -> torch.cuda.Event:
        """See `Card`."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def empty(self, tensor: Tensor) -> Tensor:
        """See `Card`."""
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)

    def lane(self) -> CudaLane:
        """See `Card`."""
        return CudaLane(self._device)


def _copy(content: _Bytes, memory: _Bytes) -> None:
    """In this thread alone, and without the interpreter's lock."""
    np.copyto(memory, content)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)
