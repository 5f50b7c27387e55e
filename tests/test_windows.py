"""Cutting a long video into windows, against InfiniteTalk's own loop."""

import pytest

from wanvideo.windows import plan_windows

CUTS = [(9, 5), (81, 9), (81, 25), (33, 1), (17, 13)]


def streamed(total: int, window: int, motion: int) -> list[tuple[int, int]]:
    """(start, new frames) per window, by the stop rule of the official streaming loop."""
    stride, start, done = window - motion, 0, []
    is_last = total <= window
    while True:
        done.append((start, window - (motion if start else 0)))
        if is_last:
            break
        start += stride
        is_last = start + window >= total
    overshoot = sum(new for _, new in done) - total
    return [*done[:-1], (done[-1][0], done[-1][1] - max(0, overshoot))]


@pytest.mark.parametrize(("window", "motion"), CUTS)
def test_windows_are_those_of_the_official_loop(window: int, motion: int) -> None:
    for total in range(window, 6 * window):
        planned = [(part.start, part.keep) for part in plan_windows(total, window, motion)]
        assert planned == streamed(total, window, motion), total


@pytest.mark.parametrize(("window", "motion"), CUTS)
def test_kept_frames_cover_the_video_once(window: int, motion: int) -> None:
    for total in range(1, 5 * window):
        windows = plan_windows(total, window, motion)
        covered = [frame for w in windows for frame in range(w.start + w.skip, w.start + w.skip + w.keep)]
        assert covered == list(range(total)), total
        assert all(w.frames == window and 0 < w.keep <= w.frames - w.skip for w in windows)
        assert [w.index for w in windows] == list(range(len(windows)))
        assert [w.skip for w in windows] == [0, *[motion] * (len(windows) - 1)]


def test_three_small_windows() -> None:
    windows = plan_windows(16, 9, 5)
    assert [w.start for w in windows] == [0, 4, 8]
    assert [w.keep for w in windows] == [9, 4, 3]
    assert [w.skip for w in windows] == [0, 5, 5]
    assert [w.is_tail for w in windows] == [False, False, True]


@pytest.mark.parametrize(
    ("total", "keeps"), [(40, [40]), (81, [81]), (82, [81, 1]), (153, [81, 72]), (154, [81, 72, 1])]
)
def test_published_window_and_motion(total: int, keeps: list[int]) -> None:
    assert [w.keep for w in plan_windows(total, 81, 9)] == keeps


def test_a_single_window_has_no_tail() -> None:
    assert [w.is_tail for w in plan_windows(40, 81, 9)] == [False]


def test_without_overlap_one_window_holds_all() -> None:
    (window,) = plan_windows(81, 81, 0)
    assert (window.start, window.frames, window.skip, window.keep) == (0, 81, 0, 81)
