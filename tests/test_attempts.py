"""Memory that runs out in mid-job: the same work again with less, said aloud, finished windows kept."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.test_pipeline import home, make, plan_of  # noqa: F401  # home is a fixture
from wanvideo.attempts import Attempts
from wanvideo.finished_file import job_folder
from wanvideo.media.frames import read_frames
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import GenerationResult, generate

TALK = {"task": "talk", "image": "picture.png", "prompt": "a person", "num_frames": 17}
WINDOWS = 3


def frames(result: GenerationResult) -> Any:
    return np.stack(list(read_frames(str(result.output), 25)))


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> Any:  # noqa: F811
    return frames(make(home, ModelCache(), **TALK))


def runs_out(monkeypatch: pytest.MonkeyPatch, place: str, failures: dict[int, int]) -> "Counter[int]":
    """The memory runs out in `place` of the pipeline, in that window so many times. Counts its uses."""
    module, _, name = place.rpartition(".")
    real: Callable[..., Any] = getattr(__import__(module, fromlist=[name]), name)
    uses: Counter[int] = Counter()
    finished = 0

    def tried(*given: Any, **named: Any) -> Any:
        nonlocal finished
        uses[finished] += 1
        if uses[finished] <= failures.get(finished, 0):
            raise torch.OutOfMemoryError("the card is full")
        result = real(*given, **named)
        finished += 1
        return result

    monkeypatch.setattr(place, tried)
    return uses


@pytest.mark.parametrize("place", ["denoise_window", "window_conditions", "decode_pieces"])
def test_a_window_is_made_again_with_less_memory(
    home: Path,  # noqa: F811
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    uses = runs_out(monkeypatch, f"wanvideo.pipeline.{place}", {1: 2})
    result = make(home, ModelCache(), **TALK)
    assert uses == {0: 1, 1: 3, 2: 1}, "only the window that failed is made again"
    assert len(result.plan.notes) == len(plan_of(home, **TALK).notes) + 2
    assert result.plan.memory != plan_of(home, **TALK).memory
    np.testing.assert_array_equal(frames(result), undisturbed)


def test_at_the_end_of_the_ladder_finished_windows_stay(
    home: Path,  # noqa: F811
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with monkeypatch.context() as patched:
        uses = runs_out(patched, "wanvideo.pipeline.denoise_window", {1: 1 << 30})
        with pytest.raises(torch.OutOfMemoryError):
            make(home, ModelCache(), **TALK)
        assert 2 < uses[1] < 20
    plan = plan_of(home, **TALK)
    assert job_folder(plan).finished() == 1
    np.testing.assert_array_equal(frames(generate(plan, ModelCache())), undisturbed)


def test_between_two_steps_more_blocks_are_swapped(
    home: Path,  # noqa: F811
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0

    def is_short(_: Attempts) -> bool:
        nonlocal asked
        asked += 1
        return asked in (2, 3, 4)

    monkeypatch.setattr(Attempts, "_is_short", is_short)
    result = make(home, ModelCache(), **TALK)
    assert asked == 2 * WINDOWS
    assert result.plan.memory.transformer.blocks == 2
    assert any("blocks are swapped" in note for note in result.plan.notes)
    np.testing.assert_array_equal(frames(result), undisturbed)


def test_another_error_is_no_reason_to_try_again(
    home: Path,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []

    def broken(*_: Any) -> None:
        calls.append(1)
        raise RuntimeError("broken")

    monkeypatch.setattr("wanvideo.pipeline.denoise_window", broken)
    with pytest.raises(RuntimeError, match="broken"):
        make(home, ModelCache(), **TALK, seed=99)
    assert len(calls) == 1
