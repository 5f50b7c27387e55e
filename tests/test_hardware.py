"""Which cards the machine has for torch, from a stand-in for NVIDIA's library."""

import os
from types import SimpleNamespace
from typing import Any

import psutil
import pynvml
import pytest

from wanvideo.hardware import probe_hardware

UUIDS = ("GPU-aa11", "GPU-aa22", "GPU-bb33")
GIGABYTE = 1 << 30


def refuse(*_: Any) -> Any:
    raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)


def by_uuid(uuid: str) -> str:
    return uuid if uuid == "MIG-cc44" else refuse()


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A driver with three cards; a handle is the card's UUID."""
    answers: dict[str, Any] = {
        "nvmlInit": lambda: None,
        "nvmlShutdown": lambda: None,
        "nvmlDeviceGetCount": lambda: len(UUIDS),
        "nvmlDeviceGetHandleByIndex": lambda index: UUIDS[index],
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetUUID": lambda card: card,
        "nvmlDeviceGetName": lambda card: f"card {card}",
        "nvmlDeviceGetCudaComputeCapability": lambda _: (8, 9),
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=24 * GIGABYTE, free=23 * GIGABYTE),
        "nvmlSystemGetDriverVersion": lambda: "580.1",
    }
    for name, answer in answers.items():
        monkeypatch.setattr(pynvml, name, answer)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.delenv("CUDA_DEVICE_ORDER", raising=False)
    return monkeypatch


VISIBLE: list[tuple[str | None, list[int]]] = [
    (None, [0, 1, 2]),
    ("", []),
    ("-1", []),
    ("NoDevFiles", []),
    ("2", [2]),
    ("2, 0", [2, 0]),
    ("1,-1,0", [1]),
    ("3", []),
    ("GPU-bb33,GPU-aa11", [2, 0]),
    ("GPU-bb", [2]),
    ("GPU-aa", []),  # of two cards
    ("GPU-zz", []),
]


@pytest.mark.parametrize(("wanted", "expected"), VISIBLE)
def test_cards_are_those_that_cuda_shows(
    cards: pytest.MonkeyPatch, wanted: str | None, expected: list[int]
) -> None:
    if wanted is not None:
        cards.setenv("CUDA_VISIBLE_DEVICES", wanted)
    machine = probe_hardware()
    assert [gpu.name for gpu in machine.gpus] == [f"card {UUIDS[index]}" for index in expected]
    if not expected:
        assert machine.device == "cpu"


def test_a_part_of_a_card_is_a_card(cards: pytest.MonkeyPatch) -> None:
    cards.setenv("CUDA_VISIBLE_DEVICES", "MIG-cc44,MIG-dd55")
    assert [gpu.name for gpu in probe_hardware().gpus] == ["card MIG-cc44"]


@pytest.mark.parametrize(("wanted", "kept"), [(None, "PCI_BUS_ID"), ("FASTEST_FIRST", "FASTEST_FIRST")])
def test_cuda_counts_as_the_driver_does(cards: pytest.MonkeyPatch, wanted: str | None, kept: str) -> None:
    """Unless a person has said otherwise, the first card that is planned for is torch's cuda:0."""
    if wanted is not None:
        cards.setenv("CUDA_DEVICE_ORDER", wanted)
    probe_hardware()
    assert os.environ["CUDA_DEVICE_ORDER"] == kept


def test_shared_memory_is_the_computers_own(cards: pytest.MonkeyPatch) -> None:
    cards.setattr(pynvml, "nvmlDeviceGetMemoryInfo", refuse)
    assert {gpu.total_bytes for gpu in probe_hardware().gpus} == {psutil.virtual_memory().total}


def test_a_card_that_tells_nothing_is_left_out(
    cards: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cards.setattr(
        pynvml, "nvmlDeviceGetCudaComputeCapability", lambda card: refuse() if card == UUIDS[0] else (9, 0)
    )
    assert [gpu.compute_capability for gpu in probe_hardware().gpus] == [(9, 0), (9, 0)]
    assert "a card is left out" in caplog.text


def test_without_a_driver_there_is_no_card(cards: pytest.MonkeyPatch) -> None:
    cards.setattr(pynvml, "nvmlInit", refuse)
    assert probe_hardware().gpus == ()
