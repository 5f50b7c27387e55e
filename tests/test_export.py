"""A finished video as webm, gif and pictures: what is in the file, what is refused, what a stop leaves."""

import io
import json
import shutil
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wanvideo.cli import BAD_INPUT, DONE, main
from wanvideo.errors import Cancelled, UserError
from wanvideo.library import export, exporting
from wanvideo.library.export import export_video
from wanvideo.library.exporting import Exports
from wanvideo.library.formats import FORMATS
from wanvideo.library.results import list_results
from wanvideo.library.settings import read_settings
from wanvideo.media.encoding import write_segment
from wanvideo.media.ffmpeg import FfmpegError, watch_ffmpeg
from wanvideo.media.frames import read_frames
from wanvideo.media.probe import probe_sound, probe_video
from wanvideo.media.sound import Sound
from wanvideo.media.video import join_segments
from wanvideo.request import ProgressEvent

SETTINGS = {"request": {"task": "talk", "prompt": "a “red” ball 红", "seed": 7}}
COLOURS = ((200, 50, 30), (20, 180, 90), (30, 40, 220))
HEIGHT, WIDTH = 48, 64
PICTURED = [name for name in FORMATS if name != "png"]  # which probes as a video


def write_video(path: Path, *, fps: float = 25, frames: int = 12, has_sound: bool = True) -> Path:
    """Three colours, a bar that moves, a tone, and settings."""
    colours = [COLOURS[number * len(COLOURS) // frames] for number in range(frames)]
    pictures = np.broadcast_to(np.array(colours, np.uint8)[:, None, None], (frames, HEIGHT, WIDTH, 3)).copy()
    for number, picture in enumerate(pictures):
        picture[:8, number % WIDTH] = 255
    segment = path.with_name("segment.mp4")
    write_segment(pictures, segment, fps=fps)
    tone = np.sin(np.arange(22050 * frames / fps) / 9).astype(np.float32)[:, None] / 2
    sound = Sound(samples=tone, rate=22050) if has_sound else None
    comment = json.dumps(SETTINGS, ensure_ascii=False)
    made = join_segments([segment], path, fps=fps, sound=sound, metadata={"comment": comment})
    segment.unlink()
    return made


@pytest.fixture
def video(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return write_video(tmp_path / "out" / "talk.mp4")


def names_beside(video: Path) -> set[str]:
    return {file.name for file in video.parent.iterdir()}


@pytest.mark.parametrize("fps", [16, 25, 29.97])
@pytest.mark.parametrize("has_sound", [True, False], ids=["sound", "silent"])
@pytest.mark.parametrize("name", PICTURED)
def test_a_new_file_has_all_frames_length_sound_and_settings(
    tmp_path: Path, name: str, has_sound: bool, fps: float
) -> None:
    source = write_video(tmp_path / "talk.mp4", fps=fps, has_sound=has_sound)
    made = export_video(source, name)
    assert made == source.with_suffix(FORMATS[name].suffix)
    before, after = probe_video(source), probe_video(made)
    assert (after.frames, after.width, after.height) == (before.frames, WIDTH, HEIGHT)
    assert after.seconds == pytest.approx(before.seconds, abs=0.5 / fps)
    assert after.has_sound == (has_sound and name == "webm")
    if after.has_sound:
        assert probe_sound(made).seconds == pytest.approx(before.seconds, abs=1 / fps)
    assert read_settings(made).request == SETTINGS["request"]


@pytest.mark.parametrize("name", PICTURED)
def test_colours_stay(video: Path, name: str) -> None:
    frames = list(read_frames(export_video(video, name), 25.0))
    for number, frame in enumerate(frames):
        wanted = COLOURS[number * len(COLOURS) // len(frames)]
        assert np.abs(frame[16:].mean((0, 1)) - wanted).max() < 4, number


@pytest.mark.parametrize("has_sound", [True, False], ids=["sound", "silent"])
def test_the_zip_holds_exact_pictures_and_the_sound(tmp_path: Path, has_sound: bool) -> None:
    source = write_video(tmp_path / "talk.mp4", has_sound=has_sound)
    made = export_video(source, "png")
    with zipfile.ZipFile(made) as archive:
        pictures = [f"{number:06d}.png" for number in range(1, 13)]
        beside = ["sound.wav"] if has_sound else []
        assert archive.namelist() == [*pictures, *beside, "settings.json"]
        assert json.loads(archive.read("settings.json")) == SETTINGS
        for number, name in enumerate(pictures):
            picture = np.asarray(Image.open(io.BytesIO(archive.read(name))), int)
            assert np.abs((picture[16:] - COLOURS[number // 4]).mean((0, 1))).max() < 1.5
        if has_sound:
            archive.extract("sound.wav", tmp_path)
            assert probe_sound(tmp_path / "sound.wav").seconds == pytest.approx(12 / 25, abs=0.03)


def test_a_gif_is_no_faster_than_viewers_show_and_as_long(tmp_path: Path) -> None:
    made = export_video(write_video(tmp_path / "fast.mp4", fps=100, frames=60), "gif")
    facts = probe_video(made)
    assert facts.frames == pytest.approx(30, abs=1) and facts.seconds == pytest.approx(0.6, abs=0.021)
    assert b"NETSCAPE2.0\x03\x01\x00\x00" in made.read_bytes(), "it plays for ever"


def test_frames_that_do_not_change_are_kept(tmp_path: Path) -> None:
    segment = tmp_path / "still.mp4"
    write_segment(np.full((9, HEIGHT, WIDTH, 3), 90, np.uint8), segment, fps=25)
    assert all(probe_video(export_video(segment, name)).frames == 9 for name in PICTURED)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_overwritten_and_nothing_else_is_left(video: Path, name: str) -> None:
    first = export_video(video, name)
    content = first.read_bytes()
    second = export_video(video, name)
    assert second.name == f"talk (2){FORMATS[name].suffix}" and first.read_bytes() == content
    assert names_beside(video) == {"talk.mp4", first.name, second.name}
    assert [result.path.name for result in list_results(video.parent).results] == ["talk.mp4"]


@pytest.mark.parametrize("name", FORMATS)
def test_progress_goes_to_the_end_and_a_stop_leaves_nothing(video: Path, name: str) -> None:
    steps: list[tuple[int, int]] = []
    export_video(
        video, name, video.with_name(f"x{FORMATS[name].suffix}"), lambda e: steps.append((e.step, e.steps))
    )
    total = 12 * FORMATS[name].passes
    assert steps == sorted(steps) and steps[-1] == (total, total)
    before = names_beside(video)

    def stop(_: ProgressEvent) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        export_video(video, name, progress=stop)
    assert names_beside(video) == before


@pytest.mark.parametrize("name", FORMATS)
def test_a_video_that_lost_its_end_gives_no_file(tmp_path: Path, name: str) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (12, HEIGHT, WIDTH, 3), np.uint8)
    segment, video = tmp_path / "segment.mp4", tmp_path / "talk.mp4"
    write_segment(noise, segment, fps=25)
    content = join_segments([segment], video, fps=25, sound=None, metadata={}).read_bytes()
    segment.unlink()
    video.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(RuntimeError, match=r"holds \d+ (frames|pictures) instead of 12"):
        export_video(video, name)
    assert names_beside(video) == {"talk.mp4"}


@pytest.mark.parametrize("name", FORMATS)
def test_a_full_disk_is_told_before_the_work(video: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=export.KEPT_FREE_BYTES))
    with pytest.raises(UserError, match="not enough space"):
        export_video(video, name)
    assert names_beside(video) == {"talk.mp4"}


def test_what_can_not_be_written_is_refused(video: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="webm, gif, png"):
        export_video(video, "avi")
    with pytest.raises(UserError, match="must be named .gif"):
        export_video(video, "gif", tmp_path / "x.webm")
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(UserError, match=r"text\.mp4"):
        export_video(tmp_path / "text.mp4", "gif")
    assert names_beside(video) == {"talk.mp4"}


def test_a_watched_ffmpeg_tells_frames_and_passes_errors_on(video: Path) -> None:
    told: list[int] = []
    watch_ffmpeg(["-i", str(video), "-f", "null", "-"], told.append)
    assert told[-1] == 12
    with pytest.raises(FfmpegError, match="nothing_there"):
        watch_ffmpeg(["-i", "nothing_there.mp4", "-f", "null", "-"], told.append)
    begun = time.monotonic()
    with pytest.raises(ZeroDivisionError):
        watch_ffmpeg(
            ["-re", "-f", "lavfi", "-i", "testsrc=d=60", "-f", "null", "-"], lambda frames: 1 // 0 + frames
        )
    assert time.monotonic() - begun < 20, "it was ended"


def wait_for_end(exports: Exports) -> None:
    end = time.monotonic() + 60
    while exports.now.state == exporting.RUNNING:
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_page_s_export_runs_beside_it_and_ends(video: Path) -> None:
    exports = Exports()
    exports.start(video, "webm")
    wait_for_end(exports)
    assert exports.now.state == exporting.DONE and exports.now.output == video.with_suffix(".webm")
    assert exports.now.fraction == 1.0 and probe_video(video.with_suffix(".webm")).frames == 12
    exports.start(video.with_name("gone.mp4"), "webm")
    wait_for_end(exports)
    assert exports.now.state == exporting.FAILED and "gone.mp4" in exports.now.error


def test_a_running_export_is_stopped_and_is_the_only_one(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def slow(*_: Any, progress: Any) -> Path:
        progress(ProgressEvent(stage="export", step=1, steps=4))
        begun.set()
        assert goes_on.wait(30)
        progress(ProgressEvent(stage="export", step=2, steps=4))
        return video

    monkeypatch.setattr(exporting, "export_video", slow)
    exports = Exports()
    exports.start(video, "gif")
    assert begun.wait(30) and exports.now.fraction == 0.25
    with pytest.raises(UserError, match="is being saved"):
        exports.start(video, "webm")
    exports.stop()
    goes_on.set()
    wait_for_end(exports)
    assert exports.now.state == exporting.STOPPED and exports.now.output is None


def test_the_command(video: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(video), "--format", "gif", "--json"]) == DONE
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["output"] == str(video.with_suffix(".gif")) and answer["seconds"] > 0
    other = tmp_path / "new" / "x.webm"
    assert main(["export", str(video), "--format", "webm", "--output", str(other)]) == DONE
    assert probe_video(other).frames == 12
    for wrong in (["--format", "avi"], [], ["--format", "gif", "--output", "x.webm"]):
        assert main(["export", str(video), *wrong]) == BAD_INPUT
    assert main(["export", str(tmp_path / "none.mp4"), "--format", "gif"]) == BAD_INPUT
