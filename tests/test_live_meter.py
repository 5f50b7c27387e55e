"""What the live meter reads, from a stand-in for NVIDIA's library, and that nobody waits for it."""

import threading
import time
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest

from tests.jobs.working import wait_for
from wanvideo import live_meter
from wanvideo.live_meter import CardReading, LiveMeter, Reading, read_machine

GIB = 1 << 30
READING = Reading(cards=(), ram_used=3 * GIB, ram_total=16 * GIB, processor=0.5)


def refuse(*_: Any) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A driver with two cards, of which 4 and 5 of 24 GB are used, and to which 2 and 4 GB/s are copied."""
    answers: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: 2,
        "nvmlDeviceGetHandleByIndex": lambda index: index,
        "nvmlDeviceGetName": lambda card: f"card {card}",
        "nvmlDeviceGetCudaComputeCapability": lambda _: (8, 9),
        "nvmlDeviceGetMemoryInfo": lambda card: SimpleNamespace(total=24 * GIB, free=(20 - card) * GIB),
        "nvmlSystemGetDriverVersion": lambda: "580.1",
        "nvmlDeviceGetPcieThroughput": lambda card, counter: (card + 1) * 2_000_000 * counter,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return monkeypatch


@pytest.mark.usefixtures("cards")
def test_each_card_has_its_memory_and_its_copies() -> None:
    assert pynvml.NVML_PCIE_UTIL_RX_BYTES == 1, "what the card receives"
    found = read_machine()
    assert found.cards == (
        CardReading(name="card 0", used_bytes=4 * GIB, total_bytes=24 * GIB, copied=2e9),
        CardReading(name="card 1", used_bytes=5 * GIB, total_bytes=24 * GIB, copied=4e9),
    )
    assert found.processor is None and 0 < found.ram_used < found.ram_total


@pytest.mark.parametrize("silent", ["no counter", "hidden cards"])
def test_copies_that_are_not_known_are_not_told(cards: pytest.MonkeyPatch, silent: str) -> None:
    if silent == "no counter":
        cards.setattr(pynvml, "nvmlDeviceGetPcieThroughput", refuse)
    else:
        cards.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    found = read_machine()
    assert [card.copied for card in found.cards] == [None, None]


def test_a_machine_without_a_driver_has_a_processor(cards: pytest.MonkeyPatch) -> None:
    cards.setattr(pynvml, "nvmlInit", refuse)
    found = read_machine()
    assert found.cards == () and found.processor is not None and 0 <= found.processor <= 1


def test_nobody_waits_and_one_reads_for_all() -> None:
    goes_on, begun = threading.Event(), []

    def read() -> Reading:
        begun.append(time.monotonic())
        goes_on.wait(60)
        return READING

    meter = LiveMeter(read)
    before = time.monotonic()
    assert [meter.look() for _ in range(50)] == [None] * 50
    assert time.monotonic() - before < 5 and len(begun) <= 1
    goes_on.set()
    wait_for(lambda: meter.look() is READING)
    assert len(begun) == 1, "the reading is not a second old"


def test_it_is_read_again_when_it_is_old_and_gone_when_nobody_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def count() -> Reading:
        read.append(1)
        return READING

    meter = LiveMeter(count)
    meter.look()
    wait_for(lambda: meter.look() is READING)
    monkeypatch.setattr(live_meter, "EVERY_SECONDS", 0.0)
    meter.look()
    wait_for(lambda: len(read) > 1)
    monkeypatch.setattr(live_meter, "STALE_SECONDS", 0.0)
    assert meter.look() is None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_fails_is_tried_again() -> None:
    answers: list[Reading | None] = [READING, None]

    def read() -> Reading:
        answer = answers.pop()
        if answer is None:
            raise OSError("no answer")
        return answer

    meter = LiveMeter(read)
    meter.look()
    wait_for(lambda: meter.look() is READING)
