"""Latents that are no picture, step by step."""

import math

import pytest
import torch
from torch import Tensor

from wanvideo.quality.guard import BrokenOutput, LatentGuard

STEPS = range(2, 8)  # a slice of a schedule


def latents(fault: str | None = None) -> Tensor:
    video = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    if fault == "NaN":
        video[0, 3, 1, 4, 4] = math.nan
    return video if fault != "one value" else video.mean(dim=(2, 3, 4), keepdim=True).expand_as(video)


def walk(guard: LatentGuard, broken_step: int | None, fault: str) -> int:
    """Steps that were begun before the fault was told."""
    for index in STEPS:
        try:
            guard.push(index, latents(fault if index == broken_step else None))
        except BrokenOutput:
            return index - STEPS.start
    guard.finish(latents(fault if broken_step == STEPS[-1] else None))
    return len(STEPS)


@pytest.mark.parametrize("fault", ["NaN", "one value"])
@pytest.mark.parametrize("place", [0, 1])
def test_a_fault_of_the_first_steps_is_told_a_step_later(place: int, fault: str) -> None:
    assert walk(LatentGuard(STEPS), STEPS[place], fault) == place + 1


@pytest.mark.parametrize("fault", ["NaN", "one value"])
def test_a_fault_of_the_last_step_is_told_at_the_end(fault: str) -> None:
    with pytest.raises(BrokenOutput, match=f"{fault} in the last step"):
        walk(LatentGuard(STEPS), STEPS[-1], fault)


def test_good_latents_pass() -> None:
    assert walk(LatentGuard(STEPS), None, "") == len(STEPS)


def test_a_single_step_is_the_first_and_the_last() -> None:
    guard = LatentGuard(range(1))
    guard.push(0, latents("NaN"))
    with pytest.raises(BrokenOutput, match="in step 1"):
        guard.finish(latents("NaN"))


@pytest.mark.gpu
def test_a_push_does_not_wait_for_the_card() -> None:
    guard, video = LatentGuard(STEPS), latents("NaN").cuda()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        guard.push(STEPS[0], video)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    with pytest.raises(BrokenOutput, match="NaN in step 1"):
        guard.finish(latents().cuda())
