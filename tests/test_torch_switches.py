"""PyTorch's switches: on for the time of a job, then as they were."""

import itertools
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
import torch

from wanvideo.torch_switches import TorchSwitches, switched, torch_version

PLACES: dict[str, list[tuple[Any, str]]] = {
    "fp16_accumulation": [(torch.backends.cuda.matmul, "allow_fp16_accumulation")],
    "tf32": [(torch.backends.cuda.matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32")],
}


class Libraries:
    """Stands in for `preferred_blas_library`, which a PyTorch without CUDA refuses to set."""

    def __init__(self) -> None:
        self.current = "default"

    def __call__(self, wanted: str | None = None) -> str:
        self.current = wanted or self.current
        return self.current


@pytest.fixture(autouse=True)
def libraries(monkeypatch: pytest.MonkeyPatch) -> Libraries:
    stand_in = Libraries()
    monkeypatch.setattr(torch.backends.cuda, "preferred_blas_library", stand_in)
    return stand_in


@pytest.fixture(params=[False, True], ids=["off before", "on before"])
def before(request: pytest.FixtureRequest) -> Iterator[dict[str, bool]]:
    """All of PyTorch's switches set to one value."""
    places = [place for found in PLACES.values() for place in found]
    found = [(place, name, getattr(place, name)) for place, name in places]
    for place, name in places:
        setattr(place, name, request.param)
    yield state()
    for place, name, value in found:
        setattr(place, name, value)


def state() -> dict[str, bool]:
    return {
        f"{switch} {place.__class__.__name__}": getattr(place, name)
        for switch, places in PLACES.items()
        for place, name in places
    }


@pytest.mark.parametrize("values", list(itertools.product([False, True], repeat=3)))
def test_they_hold_for_the_job_and_are_put_back(
    before: dict[str, bool], libraries: Libraries, values: tuple[bool, ...]
) -> None:
    switches = TorchSwitches(**dict(zip(("fp16_accumulation", "tf32", "cublaslt"), values, strict=True)))
    for fails in (False, True):
        try:
            with switched(switches):
                for name, places in PLACES.items():
                    for place, attribute in places:
                        own = f"{name} {place.__class__.__name__}"
                        assert getattr(place, attribute) == (getattr(switches, name) or before[own])
                assert libraries.current == ("cublaslt" if switches.cublaslt else "default")
                if fails:
                    raise RuntimeError("the job fails")
        except RuntimeError as error:
            assert str(error) == "the job fails"
        assert state() == before and libraries.current == "default"


def test_a_switch_that_is_refused_leaves_nothing_behind(
    before: dict[str, bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(wanted: str | None = None) -> str:
        if wanted == "cublaslt":
            raise RuntimeError("compiled without cuBLASLt")
        return "default"

    monkeypatch.setattr(torch.backends.cuda, "preferred_blas_library", refuse)
    on = TorchSwitches(fp16_accumulation=True, tf32=True, cublaslt=True)
    with pytest.raises(RuntimeError, match="without cuBLASLt"), switched(on):
        raise AssertionError("never reached")
    assert state() == before


def test_every_switch_is_known_here() -> None:
    assert {item.name for item in fields(TorchSwitches)} == {*PLACES, "cublaslt"}


def test_version_is_that_of_the_torch_that_runs() -> None:
    assert torch.__version__.startswith(".".join(map(str, torch_version())))
