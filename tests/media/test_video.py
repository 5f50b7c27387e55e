import json
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.media.media_files import grey_frames, tone
from wanvideo.errors import UserError
from wanvideo.media.frames import read_frames
from wanvideo.media.probe import probe_sound, probe_video
from wanvideo.media.segments import JobFolder
from wanvideo.media.sound import Sound, load_sound
from wanvideo.media.video import free_path, join_segments, read_metadata

AWKWARD = {
    "comment": json.dumps(
        {"prompt": 'she says "hi";\n# =50% \\ 你好', "seed": 1}, ensure_ascii=False, indent=1
    ),
    "wanvideo_effective": "a=b;c#d\\e\n'f'",
}


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    job = JobFolder(tmp_path_factory.mktemp("it's a job"), fps=25)
    frames = grey_frames(31)
    for index, part in enumerate((frames[:9], frames[9:17], frames[17:30], frames[30:])):
        job.append(index, part, {"none": torch.zeros(1)})
    return job.segments()


@pytest.mark.parametrize("seconds", [0.3, 1.24, 5.0])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, 1), (44_100, 2), (22_050, 1), (96_000, 2)])
def test_frames_sound_and_length(
    tmp_path: Path, segments: list[Path], seconds: float, rate: int, channels: int
) -> None:
    sound = Sound(samples=tone(seconds, rate, channels), rate=rate)
    path = join_segments(segments, tmp_path / "out.mp4", fps=25, sound=sound, metadata={})
    video, heard = probe_video(path), load_sound(path)
    assert (video.frames, video.has_sound) == (31, True)
    assert video.seconds == pytest.approx(31 / 25, abs=1e-3)
    assert probe_sound(path).seconds == pytest.approx(31 / 25, abs=0.04)
    assert heard.samples.shape[1] == channels and heard.rate == rate
    kept = min(len(sound.samples), len(heard.samples)) - rate // 20
    error = heard.samples[rate // 20 : kept] - sound.samples[rate // 20 : kept]
    assert np.sqrt((error**2).mean()) < 0.02  # in step with the original to the sample
    levels = [round((float(frame.mean()) - 40) / 4) for frame in read_frames(path)]
    assert levels == list(range(31))


def test_times_of_the_frames_are_exact(tmp_path: Path, segments: list[Path]) -> None:
    path = join_segments(segments, tmp_path / "out.mp4", fps=25, sound=None, metadata={})
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert [frame.time for frame in container.decode(stream)] == pytest.approx(
            [k / 25 for k in range(31)]
        )
        assert stream.codec_context.name == "h264" and stream.codec_context.pix_fmt == "yuv420p"
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before it is loaded
    assert not probe_video(path).has_sound


def test_metadata_comes_back(tmp_path: Path, segments: list[Path]) -> None:
    path = join_segments(segments, tmp_path / "out.mp4", fps=25, sound=None, metadata=AWKWARD)
    assert {key: read_metadata(path).get(key) for key in AWKWARD} == AWKWARD
    long = {"comment": "ü" * 100_000}
    assert (
        read_metadata(join_segments(segments, path, fps=25, sound=None, metadata=long))["comment"]
        == long["comment"]
    )


def test_existing_files_are_never_overwritten(tmp_path: Path, segments: list[Path]) -> None:
    (tmp_path / "out.mp4").write_text("mine")
    names = [
        join_segments(segments[:1], tmp_path / "out.mp4", fps=25, sound=None, metadata={}).name
        for _ in range(2)
    ]
    assert names == ["out (2).mp4", "out (3).mp4"]
    assert (tmp_path / "out.mp4").read_text() == "mine"
    assert free_path(tmp_path / "out.mp4").name == "out (4).mp4"
    assert free_path(tmp_path / "new.mp4").name == "new.mp4"
    assert len(list(tmp_path.iterdir())) == 3  # no temporary file is left


def test_the_same_input_gives_the_same_file(tmp_path: Path, segments: list[Path]) -> None:
    sound = Sound(samples=tone(2.0, 44_100, 2), rate=44_100)
    paths = [
        join_segments(segments, tmp_path / name, fps=25, sound=sound, metadata=AWKWARD)
        for name in ("a.mp4", "b.mp4")
    ]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_failure_leaves_nothing(
    tmp_path: Path, segments: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "window_0000.mp4"
    broken.write_bytes(segments[0].read_bytes()[:200])
    output = tmp_path / "results"
    with pytest.raises((UserError, RuntimeError)):
        join_segments([broken], output / "out.mp4", fps=25, sound=None, metadata={})
    monkeypatch.setattr("wanvideo.media.video._fitted", lambda *_: memoryview(bytes(800)))
    sound = Sound(samples=tone(2.0), rate=22_050)
    with pytest.raises(RuntimeError, match="seconds"):
        join_segments(segments, output / "out.mp4", fps=25, sound=sound, metadata={})
    assert not output.exists() or list(output.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told_in_words(tmp_path: Path, segments: list[Path]) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(UserError, match="output folder"):
        join_segments(segments, tmp_path / "file" / "out.mp4", fps=25, sound=None, metadata={})
