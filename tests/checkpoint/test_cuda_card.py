"""The order in which a lane to a card uses its two pieces of page-locked memory; CUDA itself is a fake."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from wanvideo.checkpoint.cuda_card import CudaLane
from wanvideo.placement import host_buffer

PIECE = 64


class FakeEvent:
    """Says when it is waited for."""

    log: list[tuple[str, int]]

    def __init__(self) -> None:
        self.number = -1  # never recorded

    def record(self, stream: "FakeStream") -> None:
        self.number, stream.copies = stream.copies, stream.copies + 1

    def synchronize(self) -> None:
        self.log.append(("waited for the copy of", self.number))


class FakeStream:
    """Numbers its copies."""

    log: list[tuple[str, int]]

    def __init__(self, _device: torch.device) -> None:
        self.copies = 0

    def wait_event(self, free: int) -> None:
        self.log.append(("the card has come to", free))

    def synchronize(self) -> None:
        self.log.append(("waited for all", self.copies))


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, int]]]:
    """What a lane did."""
    FakeEvent.log = FakeStream.log = found = []
    monkeypatch.setattr(torch.cuda, "Stream", FakeStream)
    monkeypatch.setattr(torch.cuda, "Event", FakeEvent)
    monkeypatch.setattr(torch.cuda, "set_stream", lambda stream: found.append(("own stream", stream.copies)))
    monkeypatch.setattr(host_buffer, "_register", lambda _address, _size: False)
    yield found


def test_memory_is_filled_again_only_after_its_copy(log: list[tuple[str, int]]) -> None:
    lane, addresses, target = CudaLane(torch.device("cuda"), PIECE), [], torch.zeros(PIECE, dtype=torch.uint8)
    sent: list[Any] = []
    for index in range(5):
        size = PIECE - index
        memory = lane.room(size)
        assert memory.shape == (size,)
        addresses.append(memory.ctypes.data)
        memory[:] = index + 1
        sent.append(lane.send(target[:size], 100 + index))
        assert target[: size - 1].eq(index + 1).all()
    lane.finish()
    assert [event.number for event in sent] == list(range(5))
    assert len(set(addresses)) == 2 and addresses[:3] == addresses[2:]
    pieces = [
        step
        for index in range(5)
        for step in (("waited for the copy of", max(-1, index - 2)), ("the card has come to", 100 + index))
    ]
    assert log == [("own stream", 0), *pieces, ("waited for all", 5)]
