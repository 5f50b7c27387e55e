"""Sizes and lengths: what is legal, what is nearest, and the published tables."""

import pytest

from wanvideo.errors import UserError
from wanvideo.geometry import (
    TALK_BUCKETS,
    area_size,
    bucket_size,
    check_frames,
    check_size,
    latent_frames,
    nearest_frames,
    quality_tier,
)


@pytest.mark.parametrize(
    ("value", "nearest"), [(17, "16 or 32"), (31, "16 or 32"), (833, "832 or 848"), (1, "16"), (15, "16")]
)
def test_size_off_the_grid_names_the_two_nearest(value: int, nearest: str) -> None:
    with pytest.raises(UserError, match=f"width must be a multiple of 16, got {value}; allowed: {nearest} "):
        check_size("width", value)


@pytest.mark.parametrize(
    ("value", "nearest"), [(80, "77 or 81"), (82, "81 or 85"), (2, "1 or 5"), (16, "13 or 17")]
)
def test_length_off_the_grid_names_the_two_nearest(value: int, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"num_frames must be 4n\+1, got {value}; allowed: {nearest} "):
        check_frames("num_frames", value)


def test_values_on_the_grid_pass() -> None:
    assert [check_size("width", value) for value in (16, 832, 4096)] == [16, 832, 4096]
    assert [check_frames("num_frames", value) for value in (1, 5, 81)] == [1, 5, 81]


@pytest.mark.parametrize(
    ("seconds", "fps", "frames"), [(5, 16, 81), (0.04, 16, 1), (1, 25, 25), (3.24, 25, 81), (2, 16, 33)]
)
def test_seconds_give_the_nearest_legal_length(seconds: float, fps: float, frames: int) -> None:
    assert nearest_frames(seconds, fps) == frames
    assert check_frames("num_frames", frames) == frames


def test_nearest_frames_is_never_two_frames_off() -> None:
    for wanted in range(1, 400):
        frames = nearest_frames(wanted / 16, 16)
        assert frames % 4 == 1
        assert abs(frames - wanted) <= 2


@pytest.mark.parametrize("tier", TALK_BUCKETS)
def test_buckets_are_legal_and_named_by_their_ratio(tier: int) -> None:
    for ratio, (height, width) in TALK_BUCKETS[tier].items():
        assert height % 16 == width % 16 == 0
        assert abs(height / width - ratio) < 0.02
        assert quality_tier(height, width) == tier
        assert bucket_size(ratio, tier) == (height, width)


@pytest.mark.parametrize(
    ("ratio", "tier", "size"),
    [(1.0, 480, (640, 640)), (16 / 9, 480, (832, 448)), (9 / 16, 480, (448, 896)), (100.0, 720, (1920, 512))],
)
def test_bucket_is_the_nearest(ratio: float, tier: int, size: tuple[int, int]) -> None:
    assert bucket_size(ratio, tier) == size


def test_area_size_is_legal_and_near_the_area() -> None:
    for area in (64 * 64, 256 * 256, 480 * 832, 720 * 1280):
        for ratio in (0.2, 0.5625, 1.0, 1.5, 4.0):
            height, width = area_size(ratio, area)
            assert height % 16 == width % 16 == 0
            assert min(height, width) >= 16
            assert height * width <= area * 1.02
    assert area_size(480 / 832, 480 * 832) == (480, 832)
    assert area_size(1.0, 256 * 256) == (256, 256)


@pytest.mark.parametrize(
    ("height", "width", "tier"), [(480, 832, 480), (640, 640, 480), (720, 1280, 720), (960, 960, 720)]
)
def test_tier_follows_the_pixels(height: int, width: int, tier: int) -> None:
    assert quality_tier(height, width) == tier


@pytest.mark.parametrize(("frames", "latents"), [(1, 1), (5, 2), (9, 3), (81, 21), (121, 31)])
def test_latent_frames(frames: int, latents: int) -> None:
    assert latent_frames(frames) == latents
