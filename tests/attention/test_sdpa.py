"""Exact attention: untouched on the CPU; on a card the fastest of torch's kernels, chosen once."""

from pathlib import Path

import pytest
import torch

from tests.attention.fake_packages import exact, place, states
from wanvideo.attention.sdpa import PROVIDERS, attend, fastest, kept_times, preferring
from wanvideo.registry import attention_backends

CUDNN, FLASH, EFFICIENT = PROVIDERS
CHOICES = [
    ({}, None),
    ({EFFICIENT: 9.0}, EFFICIENT),
    ({CUDNN: 1.0, FLASH: 1.6, EFFICIENT: 3.0}, CUDNN),
    ({CUDNN: 2.0, FLASH: 1.0, EFFICIENT: 3.0}, FLASH),
    ({CUDNN: 1.0, FLASH: 0.97, EFFICIENT: 0.96}, CUDNN),  # too close: noise may not decide
    ({FLASH: 2.0, EFFICIENT: 1.0}, EFFICIENT),
]


@pytest.mark.parametrize(("milliseconds", "chosen"), CHOICES)
def test_fastest_kernel_is_chosen(milliseconds: dict[str, float], chosen: str | None) -> None:
    assert fastest(milliseconds) == chosen


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
def test_without_a_card_the_default_is_untouched() -> None:
    assert attention_backends()["sdpa"].load(place()) is attend


@pytest.mark.parametrize("provider", PROVIDERS)
def test_preferred_kernel_is_exact_and_compiles(provider: str) -> None:
    """On the CPU only flash exists: the others must give way."""
    given = states(100, 64, torch.float32)
    torch.testing.assert_close(preferring(provider)(*given), exact(*given))
    torch._dynamo.reset()
    compiled = torch.compile(preferring(provider), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given), exact(*given))


def test_times_are_taken_once_and_kept(tmp_path: Path) -> None:
    file, taken = tmp_path / "sdpa" / "card.json", []

    def measure() -> dict[str, float]:
        taken.append(1)
        return {FLASH: float(len(taken))}

    assert kept_times(file, measure) == kept_times(file, measure) == {FLASH: 1.0}
    for damage in ("", "[1]", '{"a": "fast"}', '{"a": null}'):
        file.write_text(damage)
        kept_times(file, measure)
    assert kept_times(file, measure) == {FLASH: 5.0}


def test_folder_that_cannot_be_written_costs_only_time(tmp_path: Path) -> None:
    (tmp_path / "sdpa").touch()
    assert kept_times(tmp_path / "sdpa" / "card.json", lambda: {CUDNN: 1.0}) == {CUDNN: 1.0}
