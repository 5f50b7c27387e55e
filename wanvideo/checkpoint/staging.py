"""Tensors of mapped files on their way to a card: several threads read ahead into page-locked memory, and
each lets the card copy from there on a stream of its own, while it still works on what came before.

A plain copy of a mapped tensor touches its pages in one thread, through a small buffer of the driver's, and
nothing is read meanwhile.

The readers and the thread that computes share the interpreter's lock. So a reader does little for each piece,
and nobody waits for a copy but the card itself, and a reader before it fills the same memory again.
"""

import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from torch import Tensor

from wanvideo.checkpoint.cuda_card import CudaCard
from wanvideo.checkpoint.file_places import FilePlaces, Place, read_into

READERS = 12  # on 16 cores 8 took 6 % longer, 16 a third: each wants the interpreter, too
PIECE_BYTES = 16 << 20  # of page-locked memory; each reader has two of them
AHEAD_BYTES = 512 << 20  # on the card, of bundles that are not asked for yet
SMALL_BYTES = 64 << 10  # of so much the driver takes a copy at once: a plain copy is cheaper than a reader's
PAGE = 4096
Bundle: TypeAlias = dict[str, Tensor]
Bytes: TypeAlias = np.ndarray[Any, np.dtype[np.uint8]]


class Lane(Protocol):
    """The way of one reader to the card, made and used in its thread alone."""

    def room(self, size: int) -> Bytes:
        """Memory to fill, as soon as the card has copied what was in it."""

    def send(self, target: Tensor, free: Any) -> Any:
        """Let the card copy what is in the room to `target`, uint8, once it has come to the moment `free`.
        Returns the moment at which it is there.
        """

    def finish(self) -> None:
        """Wait for all that was sent."""


class Card(Protocol):
    """Where tensors go."""

    def moment(self) -> Any:
        """All that the card was told to compute until now."""

    def wait_for(self, moment: Any) -> None:
        """What the card is told to compute from now on comes after that moment of a lane."""

    def empty(self, tensor: Tensor) -> Tensor:
        """Memory for a tensor of that kind. The card may still compute with what was in it before."""

    def small(self, tensor: Tensor) -> Tensor:
        """A tensor of at most SMALL_BYTES, brought in between what the card computes."""

    def lane(self, size: int) -> Lane:
        """Another way to it, for pieces of that size."""


class Carrier:
    """Brings bundles to any device for the time of one load of about `size` bytes, most of them to `device`.
    The readers of a card make their page-locked memory at once, while the load finds out what to read.
    """

    def __init__(self, device: torch.device | str, size: int) -> None:
        self._size = size
        self._stages: dict[torch.device, Stage] = {}
        self._stage(torch.device(device))

    def bring(self, bundles: Iterable[Bundle], device: torch.device | str) -> Iterator[Bundle]:
        """Each bundle with its tensors on `device`, dtypes and order as they were.

        For a card the following bundles are taken and read meanwhile, until they are more than AHEAD_BYTES.
        """
        place = torch.device(device)
        stage = self._stage(place)
        if stage is not None:
            yield from stage.bring(bundles)
            return
        for bundle in bundles:
            yield {name: tensor.to(place) for name, tensor in bundle.items()}

    def close(self) -> None:
        """End what is under way. On return all that was brought is there."""
        for stage in self._stages.values():
            stage.close()

    def _stage(self, place: torch.device) -> "Stage | None":
        if place not in self._stages:
            card = card_of(place)
            if card is None:
                return None
            self._stages[place] = Stage(card, self._size)
        return self._stages[place]


def card_of(place: torch.device) -> Card | None:
    """None for what tensors reach best by plain copies."""
    return CudaCard(place) if place.type == "cuda" else None


@dataclass(slots=True)
class _Arriving:
    """A bundle that is on its way: its tensors on the card, in how many pieces they come, and the moments at
    which those that were sent are there.
    """

    size: int
    tensors: Bundle = field(default_factory=dict)
    pieces: int = 0
    sent: list[Any] = field(default_factory=list)


class _Piece(NamedTuple):
    """`source` and `target` are the bytes of a whole tensor, the piece begins at `first`."""

    bundle: _Arriving
    source: Place | Bytes
    target: Tensor
    first: int
    size: int
    free: Any


class Stage:
    """The readers of one card, each with its lane. `size`: about how many bytes will come."""

    def __init__(self, card: Card, size: int) -> None:
        self._card = card
        count = min(READERS, os.cpu_count() or 1)
        self._piece_bytes = min(PIECE_BYTES, _pages(size // count + 1))
        self._pieces: SimpleQueue[_Piece | None] = SimpleQueue()
        self._news: SimpleQueue[Future[None] | None] = SimpleQueue()  # a reader ended, or a bundle was sent
        self._lock = threading.Lock()
        self._places = FilePlaces()
        self._waiting: deque[_Arriving] = deque()
        self._count, self._readers = count, ThreadPoolExecutor(count, thread_name_prefix="staging")
        for _ in range(count):
            self._readers.submit(self._read).add_done_callback(self._news.put)

    def bring(self, bundles: Iterable[Bundle]) -> Iterator[Bundle]:
        """See `Carrier.bring`; one round is to be over before the next begins."""
        self._places.look()
        waiting, ahead = self._waiting, 0
        for bundle in bundles:
            waiting.append(self._begin(bundle))
            ahead += waiting[-1].size
            while len(waiting) > 1 and ahead > AHEAD_BYTES:
                ahead -= waiting[0].size
                yield self._first_arrived()
        while waiting:
            yield self._first_arrived()

    def close(self) -> None:
        """Wait for the pieces that are under way; the others are given up."""
        try:
            while True:
                self._pieces.get_nowait()
        except Empty:
            pass
        for _ in range(self._count):
            self._pieces.put(None)
        self._readers.shutdown(wait=True)
        self._waiting.clear()  # not before: the card may still have copied into them
        self._places.close()

    def _begin(self, bundle: Bundle) -> _Arriving:
        arriving, pieces = _Arriving(sum(tensor.nbytes for tensor in bundle.values())), []
        for name, tensor in bundle.items():
            if tensor.device.type != "cpu":
                arriving.tensors[name] = tensor
            elif tensor.nbytes <= SMALL_BYTES:
                arriving.tensors[name] = self._card.small(tensor)
            else:
                arriving.tensors[name] = self._card.empty(tensor)
                pieces += self._pieces_of(tensor, arriving.tensors[name])
        arriving.pieces = len(pieces)
        free = self._card.moment() if pieces else None  # after `empty`: what was in that memory is done with
        for piece in pieces:
            self._pieces.put(_Piece(arriving, *piece, free))
        return arriving

    def _pieces_of(self, tensor: Tensor, target: Tensor) -> list[tuple[Place | Bytes, Tensor, int, int]]:
        """All of about one size: a short last one would cost as much as the others."""
        # What is made contiguous only now may lie where a file was mapped when `look` has looked.
        place = self._places.find(tensor) if tensor.is_contiguous() else None
        source = _bytes(tensor.contiguous()).numpy() if place is None else place
        size, there = tensor.nbytes, _bytes(target)
        step = _pages(-(-size // -(-size // self._piece_bytes)))
        return [(source, there, first, min(step, size - first)) for first in range(0, size, step)]

    def _first_arrived(self) -> Bundle:
        bundle = self._waiting[0]
        while len(bundle.sent) < bundle.pieces:
            ended = self._news.get()
            if ended is not None:  # before its time: `result` raises what went wrong
                ended.result()
        for moment in bundle.sent:
            self._card.wait_for(moment)
        return self._waiting.popleft().tensors

    def _read(self) -> None:
        """The life of a reader."""
        lane = self._card.lane(self._piece_bytes)
        try:
            while (piece := self._pieces.get()) is not None:
                self._send(piece, lane)
                del piece  # the card's memory must not wait for the next one
        finally:
            lane.finish()

    def _send(self, piece: _Piece, lane: Lane) -> None:
        last, memory = piece.first + piece.size, lane.room(piece.size)
        if isinstance(piece.source, Place):
            read_into(piece.source, piece.first, memory)
        else:
            np.copyto(memory, piece.source[piece.first : last])  # in this thread, without the lock
        moment = lane.send(piece.target[piece.first : last], piece.free)
        with self._lock:
            piece.bundle.sent.append(moment)
            whole = len(piece.bundle.sent) == piece.bundle.pieces
        if whole:
            self._news.put(None)


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)


def _pages(size: int) -> int:
    return -(-size // PAGE) * PAGE
