from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from tests.media.media_files import grey_frames
from wanvideo.media.ffmpeg import run_ffmpeg
from wanvideo.media.frames import read_frame_at, read_frames
from wanvideo.media.probe import probe_video
from wanvideo.media.segments import write_segment


def numbers(frames: list[np.ndarray]) -> list[int]:
    """Which frames of `grey_frames` these are."""
    return [round((float(frame.mean()) - 40) / 4) for frame in frames]


@pytest.mark.parametrize("rate", [30, 25, 24, 10, 50, 30000 / 1001])
def test_any_rate_is_read_at_25(tmp_path: Path, rate: float) -> None:
    path = tmp_path / "source.mp4"
    write_segment(grey_frames(40), path, fps=rate)
    frames = list(read_frames(path))
    assert len(frames) == round(40 / rate * 25)
    times = np.arange(40) / rate
    expected = [int(np.abs(times - k / 25 + 1e-9).argmin()) for k in range(len(frames))]
    assert numbers(frames) == expected
    sought = [read_frame_at(path, k) for k in range(len(frames))]
    assert all(np.array_equal(one, other) for one, other in zip(sought, frames, strict=True))
    assert numbers([read_frame_at(path, 10_000)]) == [39]


def test_seeking_in_a_long_video_with_far_key_frames(tmp_path: Path) -> None:
    path = tmp_path / "long.mkv"
    run_ffmpeg(["-f", "lavfi", "-i", "testsrc=s=64x48:r=30:d=20", "-g", "200", "-bf", "3", str(path)])
    frames = list(read_frames(path))
    assert len(frames) == 500
    for number in (0, 1, 72, 144, 333, 499):
        assert np.array_equal(read_frame_at(path, number), frames[number])
    assert np.array_equal(read_frame_at(path, 501), frames[-1])


def test_rotation_of_a_telephone_is_honoured(tmp_path: Path) -> None:
    upright = grey_frames(5)
    upright[:, :8, :8] = 255  # upper left corner
    write_segment(upright, tmp_path / "flat.mp4", fps=25)
    for turn in (90, 180, 270):
        path = tmp_path / f"turned{turn}.mp4"
        run_ffmpeg(
            ["-display_rotation", str(turn), "-i", str(tmp_path / "flat.mp4"), "-c", "copy", str(path)]
        )
        raw = run_ffmpeg(["-i", str(path), "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", "rgb24", "pipe:1"])
        facts = probe_video(path)
        expected = np.frombuffer(raw, np.uint8).reshape(facts.height, facts.width, 3).astype(int)
        assert abs(next(read_frames(path)).astype(int) - expected).max() <= 2


def test_facts_of_videos(tmp_path: Path) -> None:
    for suffix, has_sound in (("mp4", True), ("mkv", True), ("webm", False), ("avi", True), ("gif", False)):
        path = tmp_path / f"clip.{suffix}"
        sound = ["-f", "lavfi", "-i", "sine=d=1.2"] if has_sound else []
        codec = ["-c:v", "libvpx"] if suffix == "webm" else []
        run_ffmpeg(
            ["-f", "lavfi", "-i", "testsrc=s=64x48:r=20:d=1.2", *sound, *codec, "-shortest", str(path)]
        )
        facts = probe_video(path)
        assert (facts.width, facts.height, facts.frames, facts.has_sound) == (64, 48, 24, has_sound), suffix
        assert facts.fps == pytest.approx(20) and facts.seconds == pytest.approx(1.2, abs=0.06)
        assert len(list(read_frames(path))) in (30, 31), suffix  # avi shows its first frame one frame late


def test_colours_survive(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 80)]
    frames = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in colours])
    write_segment(frames, tmp_path / "colours.mp4", fps=Fraction(25))
    for read, colour in zip(read_frames(tmp_path / "colours.mp4"), colours, strict=True):
        assert abs(read.astype(int) - colour).max() <= 4


def test_colours_come_back_without_a_drift(tmp_path: Path) -> None:
    """A video that goes on from its own last frames must not become darker each time."""
    random = np.random.default_rng(0)
    steps = random.normal(0, 3, (8, 48, 64, 3))
    frames = np.clip(np.cumsum(steps, axis=2) + 128, 0, 255).astype(np.uint8)
    write_segment([frames], tmp_path / "video.mp4", fps=25)
    difference = np.stack(list(read_frames(tmp_path / "video.mp4"))) - frames.astype(np.float64)
    assert np.abs(difference.mean(axis=(0, 1, 2))).max() < 0.5


@pytest.mark.parametrize(
    "colour", [(20, 180, 90), (240, 200, 170), (10, 20, 200), (0, 0, 0), (255, 255, 255)]
)
def test_flat_colours_come_back(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    write_segment([np.full((5, 32, 48, 3), colour, np.uint8)], tmp_path / "video.mp4", fps=25)
    for frame in read_frames(tmp_path / "video.mp4"):
        assert np.abs(frame - np.array(colour, np.int16)).max() <= 1
