"""Kernels that hang or raise, and packages that can't be imported."""

import time
from pathlib import Path

import pytest

from tests.proof.fake_provider import CPU, kept
from wanvideo.proof.prove import prove_attention, why_not_importable

VERDICTS = {
    "raises": "RuntimeError: CUDA error: misaligned address in kernel.cu",
    "lacks_a_library": "ModuleNotFoundError: No module named 'sageattn3.missing_library'",
}


@pytest.mark.parametrize("name", VERDICTS)
def test_error_is_told_in_its_first_line(site: Path, name: str) -> None:
    proof = prove_attention(name, CPU)
    assert not proof.usable
    assert proof.reason == VERDICTS[name]
    assert len(kept(site)) == 1


def test_backend_that_hangs_is_ended(site: Path) -> None:
    begun = time.monotonic()
    assert prove_attention("hangs", CPU, timeout=2).reason == "it gave no answer within 2 seconds"
    assert time.monotonic() - begun < 6
    assert len(kept(site)) == 1


@pytest.mark.parametrize(
    ("module", "names", "reason"),
    [
        ("json", ["loads"], ""),
        ("json", ["loads", "absent"], "it lacks absent"),
        ("nowhere", [], "ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_import_is_tried_with_its_names(module: str, names: list[str], reason: str) -> None:
    assert why_not_importable(module, *names) == reason
