"""Main memory that stands for a card: copies begin late, and are over only when somebody waits for them."""

import threading
import time
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from wanvideo.checkpoint.staging import Bytes


class Sent:
    """A copy that the card was told to make."""

    def __init__(self, memory: Bytes, target: Tensor) -> None:
        self._memory, self._target, self._lock = memory, target, threading.Lock()
        self.landed = False

    def land(self) -> None:
        """Make it now, at the latest moment there is."""
        with self._lock:
            if not self.landed:
                self._target.numpy()[:] = self._memory
                self.landed = True


class SlowLane:
    """Two rooms, as a lane to a real card has them; what is in them is wrong once it may be overwritten."""

    def __init__(self, card: "SlowCard", size: int) -> None:
        self.card, self.rooms = card, [np.zeros(size, np.uint8) for _ in range(2)]
        self.sent: list[Sent] = []
        self.filled = self.rooms[0]

    def room(self, size: int) -> Bytes:
        if len(self.sent) > 1:
            self.sent[-2].land()
        self.filled = self.rooms[len(self.sent) % 2][:size]
        self.filled[:] = 255
        return self.filled

    def send(self, target: Tensor, free: Any) -> Sent:
        assert 0 < free <= self.card.moments and target.numel() == len(self.filled)
        time.sleep(self.card.begin_piece(target.numel()))
        self.sent.append(Sent(self.filled, target))
        self.card.end_piece()
        return self.sent[-1]

    def finish(self) -> None:
        for copy in self.sent:
            copy.land()
        self.card.finished += 1


class SlowCard:
    """Pieces are sent late and in any order."""

    def __init__(self, fails_after: int = 1 << 30, lanes_that_can_be_made: int = 1 << 30) -> None:
        self.random, self.left, self.lanes_left = Random(0), fails_after, lanes_that_can_be_made
        self.moments = self.smalls = self.waits = 0  # of the thread that computes
        self.lanes = self.finished = self.pieces = self.lane_bytes = 0
        self.under_way = self.most_at_once = 0
        self.sizes: list[int] = []
        self.lock = threading.Lock()

    def moment(self) -> int:
        self.moments += 1
        return self.moments

    def wait_for(self, moment: Sent) -> None:
        self.waits += 1
        moment.land()

    def empty(self, tensor: Tensor) -> Tensor:
        made = torch.empty(tensor.shape, dtype=tensor.dtype)
        made.reshape(-1).view(torch.uint8).fill_(254)
        return made

    def small(self, tensor: Tensor) -> Tensor:
        self.smalls += 1
        return tensor.clone()

    def lane(self, size: int) -> SlowLane:
        with self.lock:
            self.lanes, self.lane_bytes = self.lanes + 1, size
            if self.lanes > self.lanes_left:
                raise RuntimeError("no lane is left")
        return SlowLane(self, size)

    def begin_piece(self, size: int) -> float:
        """Seconds that it takes."""
        with self.lock:
            self.left -= 1
            if self.left < 0:
                raise RuntimeError("the card is lost")
            self.under_way += 1
            self.most_at_once = max(self.most_at_once, self.under_way)
            self.pieces += 1
            self.sizes.append(size)
            return self.random.uniform(0, 0.003)

    def end_piece(self) -> None:
        with self.lock:
            self.under_way -= 1
