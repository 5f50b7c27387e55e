import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.media.media_files import grey_frames
from wanvideo.errors import UserError
from wanvideo.media.probe import probe_video
from wanvideo.media.segments import JobFolder, write_segment

STATE = {"motion": torch.linspace(-1, 1, 24).reshape(2, 3, 4)}


def test_windows_are_kept_in_order_with_their_state(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "job", fps=25)
    assert job.finished() == 0 and job.segments() == []
    for index, count in enumerate((9, 4, 1)):
        job.append(index, grey_frames(count), {"motion": STATE["motion"] + index})
    again = JobFolder(tmp_path / "job", fps=25)
    assert again.finished() == 3
    assert [probe_video(path).frames for path in again.segments()] == [9, 4, 1]
    assert not probe_video(again.segments()[0]).has_sound
    assert torch.equal(again.load_state(1)["motion"], STATE["motion"] + 1)
    with pytest.raises(ValueError, match="not finished"):
        again.load_state(3)


def test_an_interrupted_window_does_not_count(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, fps=25)
    job.append(0, grey_frames(5), STATE)
    (tmp_path / "partial_window_0001.mp4").write_bytes(b"half a file")
    (tmp_path / "window_0001.safetensors").write_bytes(b"a state whose video never came")
    (tmp_path / "window_0002.mp4").write_bytes(b"beyond the gap")
    job = JobFolder(tmp_path, fps=25)
    assert job.finished() == 1 and job.segments() == [tmp_path / "window_0000.mp4"]
    job.append(1, grey_frames(3), STATE)
    assert job.finished() == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("window_0000.mp4", "window_0000.safetensors", "window_0001.mp4", "window_0001.safetensors")
    ]


def test_a_failure_leaves_the_earlier_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = JobFolder(tmp_path, fps=25)
    job.append(0, grey_frames(5), STATE)
    before = sorted(path.name for path in tmp_path.iterdir())
    monkeypatch.setattr("wanvideo.media.encoding._H264", ("-c:v", "no_such_codec"))
    with pytest.raises(RuntimeError, match="no_such_codec"):
        job.append(1, grey_frames(5), STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def cut_into(frames: np.ndarray[Any, np.dtype[np.uint8]], *counts: int) -> list[Any]:
    return np.split(frames, np.cumsum(counts)[:-1])


def test_pieces_make_the_file_of_the_whole(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
    ways = [noise, iter(noise), [noise], cut_into(noise, 1, 4, 4, 3), (noise[:8], noise[8], noise[9:])]
    for index, way in enumerate(ways):
        write_segment(way, tmp_path / f"{index}.mp4", fps=25)
    assert len({hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}) == 1


def test_pieces_are_taken_one_by_one_and_the_state_is_asked_for_last(tmp_path: Path) -> None:
    job, told = JobFolder(tmp_path, fps=25), []

    def pieces() -> Iterator[Any]:
        for index, piece in enumerate(cut_into(grey_frames(9), 1, 4, 4)):
            told.append(index)
            yield piece

    def state() -> dict[str, torch.Tensor]:
        told.append(len(told))
        return {"motion": torch.tensor(told)}

    job.append(0, pieces(), state)
    assert job.load_state(0)["motion"].tolist() == [0, 1, 2, 3]
    assert probe_video(job.segments()[0]).frames == 9


@pytest.mark.parametrize("broken", [0, 1, 3])
def test_an_error_of_the_pieces_leaves_nothing(tmp_path: Path, broken: int) -> None:
    job = JobFolder(tmp_path, fps=25)
    job.append(0, grey_frames(5), STATE)
    before = sorted(path.name for path in tmp_path.iterdir())

    def pieces() -> Iterator[Any]:
        yield from cut_into(grey_frames(9), 1, 4, 4)[:broken]
        raise MemoryError("the card is full")

    with pytest.raises(MemoryError, match="the card is full"):
        job.append(1, pieces(), STATE)
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    job.append(1, grey_frames(3), STATE)
    assert job.finished() == 2


def test_an_error_of_the_state_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="motion"):
        JobFolder(tmp_path, fps=25).append(0, grey_frames(3), lambda: {"motion": STATE["no motion"]})
    assert list(tmp_path.iterdir()) == []


def test_when_ffmpeg_ends_early_the_rest_is_not_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wanvideo.media.encoding._H264", ("-c:v", "no_such_codec"))
    asked = []

    def pieces() -> Iterator[Any]:
        for index in range(1000):
            asked.append(index)
            yield grey_frames(4, 128, 128)

    with pytest.raises(RuntimeError, match="no_such_codec"):
        write_segment(pieces(), tmp_path / "one.mp4", fps=25)
    assert len(asked) < 100


def test_a_file_with_fewer_frames_is_no_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wanvideo.media.encoding.REPRODUCIBLE", ("-frames:v", "3"))
    with pytest.raises(RuntimeError):
        write_segment(grey_frames(200, 128, 128), tmp_path / "one.mp4", fps=25)


def test_writing_an_earlier_window_drops_the_later_ones(tmp_path: Path) -> None:
    job = JobFolder(tmp_path, fps=25)
    for index in range(3):
        job.append(index, grey_frames(2), STATE)
    job.append(1, grey_frames(7), STATE)
    assert [probe_video(path).frames for path in job.segments()] == [2, 7]
    with pytest.raises(ValueError, match="cannot follow"):
        job.append(3, grey_frames(2), STATE)


@pytest.mark.parametrize("fps", [25, 16, 24, 30, 24000 / 1001])
@pytest.mark.parametrize("count", [1, 2, 81])
def test_frame_count_is_exact(tmp_path: Path, fps: float, count: int) -> None:
    write_segment(np.tile(grey_frames(1), (count, 1, 1, 1)), tmp_path / "one.mp4", fps=fps)
    facts = probe_video(tmp_path / "one.mp4")
    assert facts.frames == count and facts.fps == pytest.approx(fps)
    assert facts.seconds == pytest.approx(count / fps, abs=1e-4)


def test_equal_frames_give_equal_files(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 64, 64, 3), np.uint8)
    for name in ("one.mp4", "two.mp4"):
        write_segment(noise, tmp_path / name, fps=25)
    digests = {hashlib.sha256(path.read_bytes()).hexdigest() for path in tmp_path.iterdir()}
    assert len(digests) == 1


@pytest.mark.parametrize("shape", [(0, 32, 32, 3), (2, 31, 32, 3), (2, 32, 32, 4)])
def test_frames_of_another_shape_are_a_mistake_of_ours(tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        write_segment(np.zeros(shape, np.uint8), tmp_path / "one.mp4", fps=25)


@pytest.mark.parametrize(
    "piece",
    [np.zeros((2, 32, 34, 3), np.uint8), np.zeros((0, 32, 32, 3), np.uint8), np.zeros((2, 32, 32, 3))],
)
def test_so_is_a_piece_unlike_the_first(tmp_path: Path, piece: Any) -> None:
    with pytest.raises(ValueError, match="frames must be"):
        write_segment([grey_frames(1, 32, 32), piece], tmp_path / "one.mp4", fps=25)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_a_full_disk_is_told_in_words(tmp_path: Path) -> None:
    (tmp_path / "full.mp4").symlink_to("/dev/full")
    with pytest.raises(UserError, match="disk is full"):
        write_segment(grey_frames(3), tmp_path / "full.mp4", fps=25)
