"""The clock of a job: which stage its seconds are counted for."""

import time

import pytest

from wanvideo.request import ignore_progress
from wanvideo.stage_clock import StageClock


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """The time, which stands still."""
    now = {"seconds": 100.0}
    monkeypatch.setattr(time, "perf_counter", lambda: now["seconds"])
    return now


def test_each_stage_has_its_seconds_over_all_windows(at: dict[str, float]) -> None:
    clock = StageClock(ignore_progress, 2)
    for window, seconds in enumerate((3.0, 4.0)):
        clock.enter_window(window)
        clock.enter("denoise")
        at["seconds"] += seconds
        clock.enter("decode")
        at["seconds"] += 1.0
    assert clock.stages() == {"denoise": 7.0, "decode": 2.0} and clock.total() == 9.0


def test_work_set_apart_is_taken_from_the_stage_that_goes_on(at: dict[str, float]) -> None:
    clock = StageClock(ignore_progress, 1)
    compiled = clock.apart("compile")
    clock.enter("denoise")
    at["seconds"] += 10.0
    compiled(4.0)
    at["seconds"] += 1.0
    compiled(0.5)
    clock.enter("decode")
    at["seconds"] += 2.0
    assert clock.stages() == {"compile": 4.5, "denoise": 6.5, "decode": 2.0}
    assert clock.total() == 13.0
