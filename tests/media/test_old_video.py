"""A finished video that another one goes on from: what can be, what is refused, how it is joined, heard."""

from pathlib import Path

import numpy as np
import pytest

from tests.media.media_files import grey_frames, tone
from wanvideo.errors import UserError
from wanvideo.media.encoding import write_segment
from wanvideo.media.ffmpeg import run_ffmpeg
from wanvideo.media.frames import read_frames, read_last_frames
from wanvideo.media.old_video import probe_old_video, write_old_pictures
from wanvideo.media.probe import probe_video
from wanvideo.media.sound import SPEECH_RATE, Sound, follow_sound, last_speech
from wanvideo.media.video import join_segments

FOREIGN = {
    "other settings": ["-c:v", "libx264", "-crf", "30", "-bf", "2", "-pix_fmt", "yuv420p"],
    "another codec": ["-c:v", "mpeg4", "-q:v", "2"],
}


def numbers(path: Path) -> list[float]:
    """Those of the frames of `grey_frames`, as exact as they are coded."""
    frames = read_frames(path, probe_video(path).fps)
    return [(float(frame.mean()) - 40) / 4 for frame in frames]


def ours(folder: Path, count: int = 12, fps: float = 25, sound: Sound | None = None) -> Path:
    write_segment(grey_frames(count), folder / "one.mp4", fps=fps)
    return join_segments([folder / "one.mp4"], folder / "old.mp4", fps=fps, sound=sound, metadata={})


def coded(folder: Path, name: str, how: list[str], count: int = 12, fps: float = 25) -> Path:
    write_segment(grey_frames(count), folder / "plain.mp4", fps=fps)
    run_ffmpeg(["-i", str(folder / "plain.mp4"), *how, str(folder / name)])
    return folder / name


@pytest.mark.parametrize("fps", [8, 16, 24000 / 1001, 25, 30])
def test_a_video_of_ours_is_joined_as_it_is(tmp_path: Path, fps: float) -> None:
    old = probe_old_video(ours(tmp_path, fps=fps, sound=Sound(samples=tone(1.0), rate=22_050)))
    assert old.is_like_ours and (old.facts.frames, old.facts.has_sound) == (12, True)
    write_old_pictures(old, tmp_path / "again.mp4")
    kept = [np.stack(list(read_frames(path, old.facts.fps))) for path in (old.path, tmp_path / "again.mp4")]
    np.testing.assert_array_equal(*kept)
    assert not probe_video(tmp_path / "again.mp4").has_sound


@pytest.mark.parametrize("how", FOREIGN.values(), ids=FOREIGN)
@pytest.mark.parametrize("name", ["old.mp4", "old.mkv"])
def test_a_foreign_video_is_encoded_once_more(tmp_path: Path, how: list[str], name: str) -> None:
    old = probe_old_video(coded(tmp_path, name, how))
    assert not old.is_like_ours and old.facts.frames == 12
    before = old.path.read_bytes()
    write_segment(grey_frames(16)[12:], tmp_path / "new.mp4", fps=25)
    made = join_segments(
        [tmp_path / "new.mp4"], tmp_path / "all.mp4", fps=25, sound=None, metadata={}, old=old
    )
    assert numbers(made) == pytest.approx(list(range(16)), abs=0.9)
    assert old.path.read_bytes() == before


def test_old_and_new_pictures_are_one_video(tmp_path: Path) -> None:
    old = probe_old_video(ours(tmp_path, 12))
    write_segment(grey_frames(31)[12:], tmp_path / "new.mp4", fps=25)
    made = join_segments(
        [tmp_path / "new.mp4"], old.path, fps=25, sound=None, metadata={"comment": "c"}, old=old
    )
    assert made.name == "old (2).mp4" and numbers(made) == pytest.approx(list(range(31)), abs=0.4)
    assert probe_old_video(made).is_like_ours, "an extended video can be extended"


def odd_size(folder: Path) -> Path:
    return coded(folder, "odd.mp4", ["-vf", "scale=50:32"])


def uneven(folder: Path) -> Path:
    late = ["-vf", "setpts='if(gt(N,5),PTS+0.2/TB,PTS)'", "-fps_mode", "vfr"]
    return coded(folder, "uneven.mp4", [*late, "-c:v", "libx264"])


def slow(folder: Path) -> Path:
    return coded(folder, "slow.mp4", ["-vf", "setpts=50*PTS", "-r", "0.5", "-c:v", "libx264"])


def sound_only(folder: Path) -> Path:
    run_ffmpeg(["-f", "lavfi", "-i", "sine=d=1", str(folder / "sound.m4a")])
    return (folder / "sound.m4a").rename(folder / "sound.mp4")


def text(folder: Path) -> Path:
    (folder / "text.mp4").write_text("no video")
    return folder / "text.mp4"


def cut_off(folder: Path) -> Path:
    (folder / "cut.mp4").write_bytes(ours(folder).read_bytes()[:900])
    return folder / "cut.mp4"


REFUSED = [
    (odd_size, r"odd.mp4' cannot be used: .* 50 x 32 pixels; allowed: width and height in multiples of 16"),
    (uneven, r"uneven.mp4' cannot be used: its frames do not come at one even rate"),
    (slow, r"slow.mp4' cannot be used: its frames do not come at one even rate"),
    (sound_only, r"sound.mp4' cannot be used: it has no pictures"),
    (text, r"text.mp4' cannot be used: it is damaged or of another kind"),
    (cut_off, r"cut.mp4' cannot be used: it is damaged"),
    (lambda folder: folder / "gone.mp4", r"gone.mp4' cannot be used: there is no such file"),
    (lambda folder: folder, "it is a folder"),
]


@pytest.mark.parametrize(("make", "told"), REFUSED)
def test_what_cannot_be_gone_on_from_is_refused_in_a_sentence(
    tmp_path: Path, make: object, told: str
) -> None:
    with pytest.raises(UserError, match=told):
        probe_old_video(make(tmp_path))  # type: ignore[operator]


@pytest.mark.parametrize("count", [1, 5, 12, 40])
def test_the_last_frames_are_the_last(tmp_path: Path, count: int) -> None:
    for frames in (12, 200):
        last = read_last_frames(ours(tmp_path, frames), count)
        write_segment(grey_frames(frames), tmp_path / "all.mp4", fps=25)
        np.testing.assert_array_equal(last, list(read_frames(tmp_path / "all.mp4"))[-count:])


@pytest.mark.parametrize(("old_rate", "new_rate"), [(16_000, 16_000), (44_100, 16_000), (16_000, 48_000)])
@pytest.mark.parametrize("old_seconds", [0.5, 1.0, 2.0])
def test_new_sound_begins_where_the_old_pictures_end(
    old_rate: int, new_rate: int, old_seconds: float
) -> None:
    old = Sound(samples=tone(old_seconds, old_rate, 2), rate=old_rate)
    new = Sound(samples=tone(0.5, new_rate, pitch=880), rate=new_rate)
    both = follow_sound(old, 1.0, new)
    assert both is not None and both.rate == max(old_rate, new_rate) and both.samples.shape[1] == 2
    assert both.seconds == pytest.approx(1.5, abs=1e-3)
    silent = both.samples[round(min(old_seconds, 1) * both.rate) + 300 : both.rate - 1]
    assert not silent.any() if old_seconds < 1 else not len(silent)
    assert np.abs(both.samples[both.rate + 100 : both.rate + 2000]).max() > 0.4


def test_silence_where_one_part_has_no_sound() -> None:
    sound = Sound(samples=tone(0.5, 16_000), rate=16_000)
    assert follow_sound(None, 1.0, None) is None
    before, after = follow_sound(sound, 1.0, None), follow_sound(None, 1.0, sound)
    assert before is not None and before.seconds == 1.0 and not before.samples[8000:].any()
    assert after is not None and after.seconds == 1.5 and not after.samples[:16_000].any()


@pytest.mark.parametrize(("seconds", "end"), [(3.0, 3.0), (3.0, 2.0), (2.0, 2.1)])
def test_what_was_heard_last(tmp_path: Path, seconds: float, end: float) -> None:
    import soundfile

    rising = np.linspace(0, 0.5, round(seconds * SPEECH_RATE), dtype=np.float32)
    soundfile.write(tmp_path / "a.wav", rising, SPEECH_RATE, subtype="FLOAT")
    heard = last_speech(tmp_path / "a.wav", 6400, end)
    wanted = np.pad(rising, (0, SPEECH_RATE))[: round(end * SPEECH_RATE)][-6400:]
    assert heard.shape == (6400,) and np.corrcoef(heard, wanted)[0, 1] > 0.999
    assert not last_speech(tmp_path / "a.wav", 100_000, 1.0)[:80_000].any()
