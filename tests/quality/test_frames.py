"""Figures of frames whose colours, changes and faults are known."""

import math
from dataclasses import astuple
from typing import Any

import pytest
import torch
from torch import Tensor

from wanvideo.quality.frames import EDGE, STILL, FrameWatch, WindowFigures, is_flat, read_windows, with_window

LEVEL = 2 / 255  # of 255, in the range [-1, 1]


def moving(frames: int, step: float = 2.0, size: int = 32) -> Tensor:
    """(3, F, H, W): a soft picture that gets lighter by `step` levels a frame."""
    rows = torch.linspace(-0.5, 0.5, size)[:, None].expand(size, size)
    return torch.stack([rows + step * LEVEL * frame for frame in range(frames)])[None].repeat(3, 1, 1, 1)


def figures_of(video: Tensor, pieces: int = 4, **known: Any) -> WindowFigures:
    watch = FrameWatch(**known)
    for piece in video.split(pieces, dim=1):
        watch.look(piece)
    return watch.figures()


def test_changes_inside_and_across_the_seam() -> None:
    video = moving(9)
    video[:, 5:] += 3 * LEVEL
    figures = figures_of(video, last=moving(1) - 7 * LEVEL)
    assert figures.change == pytest.approx(5, rel=1e-3)
    assert figures.seam == pytest.approx(7, rel=1e-3)
    assert math.isnan(figures_of(video).seam), "the first window has no seam before it"
    assert figures.flat == figures.still == 0


@pytest.mark.parametrize("pieces", [1, 3, 12])
def test_pieces_do_not_matter(pieces: int) -> None:
    video, reference = moving(12), moving(1)
    one = figures_of(video, 4, reference=reference, last=reference)
    cut = figures_of(video, pieces, reference=reference, last=reference)
    assert astuple(cut) == pytest.approx(astuple(one), rel=1e-5)


def test_colour_is_a_distance_in_lab() -> None:
    """Greys have a = b = 0, so the distance is that of L: 116 y^(1/3) - 16 of the linear luminance y."""
    grey = torch.zeros(3, 1, 32, 32)
    lighter = grey + 25 * LEVEL

    def lightness(level: float) -> float:
        linear = ((level / 255 + 0.055) / 1.055) ** 2.4
        return 116 * float(linear ** (1 / 3)) - 16

    figures = figures_of(lighter, reference=grey)
    assert figures.colour_mean == pytest.approx(lightness(152.5) - lightness(127.5), abs=0.01)
    assert figures.colour_spread == pytest.approx(0, abs=0.01)
    flatter = figures_of(moving(1) * 0.5, reference=moving(1))
    assert flatter.colour_spread > 5 * flatter.colour_mean > 0
    assert math.isnan(figures_of(lighter).colour_mean), "without a reference nothing drifts"


def test_a_run_of_the_same_picture_is_counted() -> None:
    video = moving(12)
    video[:, 4:8] = video[:, 3:4]
    video[:, 8] = video[:, 7] + STILL * LEVEL / 4
    assert figures_of(video).still == 5
    assert figures_of(moving(12)).still == 0


FAULTS = {
    "NaN": lambda video: video.index_put((torch.tensor(1), torch.tensor(7)), torch.tensor(math.nan)),
    "black": lambda video: torch.full_like(video, -1),
    "one colour": lambda video: torch.full_like(video, 0.3),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_no_video_is_named(fault: str) -> None:
    watch = FrameWatch()
    watch.look(FAULTS[fault](moving(9)))
    assert fault in (watch.fault() or "")


def test_some_flat_frames_are_counted_and_are_no_fault() -> None:
    video = moving(9)
    video[:, 2:4] = -1
    watch = FrameWatch()
    watch.look(video)
    assert watch.fault() is None
    assert watch.figures().flat == 2


def test_a_spoilt_pixel_is_found_between_those_that_are_looked_at() -> None:
    video = moving(2, size=4 * EDGE)
    video[2, 1, 5, 6] = math.inf
    watch = FrameWatch()
    watch.look(video)
    assert watch.fault() == "NaN"


def test_large_pictures_give_the_figures_of_small_ones() -> None:
    small, large = moving(5, size=EDGE), moving(5, size=5 * EDGE)
    few = figures_of(small, reference=small[:, :1] * 0.8)
    many = figures_of(large, reference=large[:, :1] * 0.8)
    assert astuple(many) == pytest.approx(astuple(few), rel=0.03, abs=0.02, nan_ok=True)


def test_a_picture_of_one_colour_is_flat() -> None:
    assert is_flat(torch.full((3, 1, 32, 32), 0.9))
    assert not is_flat(moving(1))


def test_the_table_of_windows_comes_back_and_gaps_are_unknown() -> None:
    first, third = figures_of(moving(5)), figures_of(moving(9), last=moving(1))
    table = with_window(with_window(None, 0, first), 2, third)
    known = read_windows(table)
    assert len(known) == 3 and math.isnan(known[1].change)
    assert known[2].change == pytest.approx(third.change)
    again = with_window(table, 1, first)
    assert len(again) == 2, "a window that is made again drops those after it"
