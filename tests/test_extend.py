"""Videos that go on from a finished one, on tiny random models: pictures, sound, windows, file."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
from PIL import Image

from tests.test_cli import TALK as CLI_TALK
from tests.test_cli import Streams, folder, models  # noqa: F401  # fixtures
from tests.test_pipeline import REQUESTS, home, plan_of  # noqa: F401  # home is a fixture
from wanvideo import pipeline, speech_inputs
from wanvideo.cli import main
from wanvideo.conditioning import WindowConditions
from wanvideo.errors import Cancelled
from wanvideo.finished_file import job_folder, keep_finished
from wanvideo.lending import job_models
from wanvideo.library.settings import read_settings
from wanvideo.media.ffmpeg import run_ffmpeg
from wanvideo.media.frames import read_frame_at, read_frames, read_last_frames
from wanvideo.media.pictures import fit_picture, load_picture
from wanvideo.media.probe import probe_video
from wanvideo.media.sound import load_sound
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.models.vae import encode
from wanvideo.pipeline import GenerationResult, generate
from wanvideo.plan import GenerationPlan
from wanvideo.request import ProgressEvent

RATE = 44_100
OLD_FRAMES = 15


@pytest.fixture(scope="module")
def cache() -> ModelCache:
    return ModelCache()


@pytest.fixture(scope="module")
def old(home: Path, cache: ModelCache) -> Path:  # noqa: F811
    """A talk of 0.6 seconds with a click after 0.3."""
    write_click(home / "first.wav", 0.3)
    write_click(home / "second.wav", 0.2)
    plan = plan_of(home, **REQUESTS["talk"] | {"audio": ["first.wav"]})
    return generate(plan, cache).output


def write_click(path: Path, seconds: float) -> None:
    samples = np.zeros(int(RATE * 0.6), np.float32)
    samples[round(RATE * seconds) :][:60] = 0.8
    soundfile.write(path, samples, RATE)


def extending(home: Path, old: Path, **request: Any) -> GenerationPlan:  # noqa: F811
    asked = {"task": "talk", "audio": ["second.wav"], "prompt": "on", **request}
    return plan_of(home, **{name: value for name, value in asked.items() if value}, extends=str(old))


def frames_of(path: Path) -> npt.NDArray[np.uint8]:
    return np.stack(list(read_frames(path, probe_video(path).fps)))


def pixels_of(plan: GenerationPlan, frames: list[npt.NDArray[np.uint8]]) -> torch.Tensor:
    pictures = [fit_picture(Image.fromarray(frame), plan.height, plan.width) for frame in frames]
    return torch.cat(pictures, dim=1)


def clicks(path: Path) -> list[float]:
    """When it clicks, in seconds."""
    sound = load_sound(path)
    loud = np.flatnonzero(np.abs(sound.samples).max(axis=1) > 0.3) / sound.rate
    return [float(time) for time in loud[np.diff(loud, prepend=-1) > 0.1]]


Seen = list[tuple[torch.Tensor, WindowConditions, torch.Tensor]]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> Seen:
    """(motion pixels, conditions, latents of those pixels) of each window that follows something."""
    found: Seen = []
    make: Callable[..., WindowConditions] = pipeline.window_conditions

    def watched(plan: Any, window: Any, inputs: Any, motion: Any, lent: Any) -> WindowConditions:
        conditions = make(plan, window, inputs, motion, lent)
        if motion is not None:
            with lent.vae() as vae:
                found.append((motion, conditions, encode(vae, motion, lent.memory.encode_tile)))
        return conditions

    monkeypatch.setattr(pipeline, "window_conditions", watched)
    return found


def test_a_talk_goes_on_from_the_last_frames(home: Path, old: Path, cache: ModelCache, seen: Seen) -> None:  # noqa: F811
    before = old.read_bytes()
    plan = extending(home, old)
    result = generate(plan, cache)
    assert (plan.total_frames, len(plan.windows), plan.windows[0].skip) == (15, 4, 5)
    motion, conditions, latents = seen[0]
    torch.testing.assert_close(motion, pixels_of(plan, list(frames_of(old)[-5:])), rtol=0, atol=0)
    assert conditions.motion_latents is not None and torch.equal(conditions.motion_latents, latents)
    assert conditions.picture is not None
    torch.testing.assert_close(conditions.picture.picture, pixels_of(plan, [read_frame_at(old, 0)]))

    made = frames_of(result.output)
    assert len(made) == probe_video(result.output).frames == OLD_FRAMES + 15
    np.testing.assert_array_equal(made[:OLD_FRAMES], frames_of(old))
    assert old.read_bytes() == before and result.output != old
    assert not job_folder(plan).segments()


def test_the_speaker_may_look_like_a_picture(home: Path, old: Path, cache: ModelCache, seen: Seen) -> None:  # noqa: F811
    plan = extending(home, old, image="picture.png", num_frames=1)
    result = generate(plan, cache)
    picture = seen[0][1].picture
    assert picture is not None
    wanted = fit_picture(load_picture(home / "picture.png"), plan.height, plan.width)
    assert torch.equal(picture.picture, wanted)
    assert probe_video(result.output).frames == OLD_FRAMES + 1


def test_sound_is_in_step_in_both_parts(home: Path, old: Path, cache: ModelCache) -> None:  # noqa: F811
    made = generate(extending(home, old, seed=51), cache).output
    assert clicks(made) == pytest.approx([0.3, 0.6 + 0.2], abs=1 / 25)
    again = generate(extending(home, made, seed=52), cache).output
    assert clicks(again) == pytest.approx([0.3, 0.8, 1.4], abs=1 / 25)
    sound = load_sound(again)
    assert abs(sound.seconds - probe_video(again).seconds) <= 1 / 25


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> list[npt.NDArray[np.float32]]:
    """What the speech encoder is given, one after the other."""
    samples_heard: list[npt.NDArray[np.float32]] = []

    def listen(_: object, samples: torch.Tensor, frames: int) -> torch.Tensor:
        samples_heard.append(samples.numpy())
        return torch.zeros(frames, 1, 1)

    monkeypatch.setattr(speech_inputs, "encode_speech", listen)
    return samples_heard


@pytest.mark.parametrize(("voices", "leads"), [(1, True), (2, False)])
def test_the_model_hears_the_new_speech_with_the_new_frames(
    home: Path,  # noqa: F811
    old: Path,
    heard: list[npt.NDArray[np.float32]],
    voices: int,
    leads: bool,
) -> None:
    plan = extending(home, old, audio=["second.wav"] * voices)
    speech_inputs.speech_of_job(plan, job_models(plan, ModelCache(), lambda _: None))
    lead = plan.windows[0].skip * speech_inputs.SAMPLES_PER_FRAME
    assert len(heard) == voices and lead == 5 * 640
    for samples in heard:
        assert len(samples) >= 20 * 640, "the lead, and as much as the new part"
        assert np.abs(samples[lead:]).argmax() / 16_000 == pytest.approx(0.2, abs=0.01)
    # the click of the old sound was 0.3 seconds before its end, the lead is its last 0.2
    longer = extending(home, old, audio=["second.wav"] * voices, motion_frames=9, window_frames=13)
    heard.clear()
    speech_inputs.speech_of_job(longer, job_models(longer, ModelCache(), lambda _: None))
    before = np.abs(heard[0][: 9 * 640])
    assert (before.max() > 0.1) == leads
    if leads:
        assert before.argmax() / 16_000 == pytest.approx(9 / 25 - 0.3, abs=0.01)


@pytest.mark.parametrize("follows", [True, False])
def test_silence_before_or_after(home: Path, old: Path, cache: ModelCache, follows: bool) -> None:  # noqa: F811
    silent = generate(plan_of(home, **REQUESTS["silent talk"] | {"fps": 25}), cache).output
    assert not probe_video(silent).has_sound
    first, audio, wanted = (silent, ["second.wav"], [0.2 + 0.2]) if follows else (old, None, [0.3])
    made = generate(extending(home, first, audio=audio, seed=53), cache).output
    assert probe_video(made).has_sound and clicks(made) == pytest.approx(wanted, abs=1 / 25)


def test_a_picture_s_video_goes_on_from_the_last_frame(
    home: Path,  # noqa: F811
    cache: ModelCache,
    seen: Seen,
) -> None:
    first = generate(plan_of(home, **REQUESTS["image to video"]), cache).output
    seen.clear()
    plan = extending(home, first, task="image_to_video", audio=None)
    result = generate(plan, cache)
    last = pixels_of(plan, read_last_frames(first, 1))
    picture = seen[0][1].picture
    assert picture is not None and torch.equal(picture.picture, last) and seen[0][1].motion_latents is None
    assert (plan.total_frames, plan.settings.fps) == (8, 16)
    assert probe_video(result.output).frames == 9 + 8 and not probe_video(result.output).has_sound


def test_the_metadata_tells_of_the_new_part(home: Path, old: Path, cache: ModelCache) -> None:  # noqa: F811
    made = generate(extending(home, old, seed=54), cache).output
    written = json.loads(read_metadata(made)["comment"])
    assert written["request"]["extends"] == old.name and str(home) not in json.dumps(written)
    assert (written["effective"]["frames"], written["effective"]["frames_before"]) == (15, OLD_FRAMES)
    assert read_settings(made).request["extends"] == old.name


def test_the_seam_is_measured(home: Path, old: Path, cache: ModelCache) -> None:  # noqa: F811
    result = generate(extending(home, old, seed=55), cache)
    quality = result.quality.as_mapping()
    change = np.abs(np.diff(frames_of(result.output).astype(float), axis=0)).mean(axis=(1, 2, 3))
    seam, inside = change[OLD_FRAMES - 1], change[OLD_FRAMES : OLD_FRAMES + 3].max()
    jumps = quality["seam_jump"]["values"]
    assert len(jumps) == 4 and jumps[0] == pytest.approx(seam / max(0.5, inside), rel=0.1)
    assert quality["flat"]["values"] == [None, 0.0, 0.0, 0.0, 0.0]


def test_a_foreign_video_is_encoded_once_more_and_that_is_said(
    home: Path,  # noqa: F811
    old: Path,
    cache: ModelCache,
) -> None:
    foreign = home / "foreign.mkv"
    run_ffmpeg(["-i", str(old), "-c:v", "mpeg4", "-q:v", "1", "-c:a", "libopus", str(foreign)])
    result = generate(extending(home, foreign, seed=56), cache)
    assert any("encoded once more" in note for note in result.plan.notes)
    made = frames_of(result.output).astype(float)
    assert len(made) == OLD_FRAMES + 15 and np.abs(made[:OLD_FRAMES] - frames_of(foreign)).mean() < 3
    assert clicks(result.output) == pytest.approx([0.3, 0.8], abs=1 / 25)


def stop_in_the_third_window(event: ProgressEvent) -> None:
    if event.window == 2 and event.step:
        raise Cancelled


def stopped(plan: GenerationPlan, cache: ModelCache) -> None:
    with pytest.raises(Cancelled):
        generate(plan, cache, stop_in_the_third_window)


def test_an_interrupted_one_goes_on_to_the_same_video(home: Path, old: Path, cache: ModelCache) -> None:  # noqa: F811
    plan = extending(home, old, seed=57)
    stopped(plan, cache)
    windows: list[int] = []
    resumed = generate(plan, cache, lambda event: windows.append(event.window) if event.step else None)
    whole: GenerationResult = generate(replace(plan, output=plan.output.with_stem("whole")), cache)
    assert set(windows) == {2, 3}
    np.testing.assert_array_equal(frames_of(resumed.output), frames_of(whole.output))


def test_a_stopped_one_leaves_the_old_video_and_what_was_finished(
    home: Path,  # noqa: F811
    old: Path,
    cache: ModelCache,
) -> None:
    plan = replace(extending(home, old, seed=58), output=home / "stopped_extension" / "clip.mp4")
    stopped(plan, cache)
    part = keep_finished(plan)
    assert part is not None and probe_video(part).frames == OLD_FRAMES + 8
    assert clicks(part) == pytest.approx([0.3, 0.8], abs=1 / 25)
    np.testing.assert_array_equal(frames_of(part)[:OLD_FRAMES], frames_of(old))


def test_windows_of_another_old_video_are_not_taken_up(home: Path, old: Path, cache: ModelCache) -> None:  # noqa: F811
    copy = home / "copy.mp4"
    copy.write_bytes(old.read_bytes())
    plan = extending(home, copy, seed=59)
    stopped(plan, cache)
    assert job_folder(plan).finished() == 2
    copy.write_bytes(old.read_bytes() + b"\0" * 8)
    assert job_folder(plan).finished() == 0


def test_the_command_line_extends(folder: Path, capfd: Streams) -> None:  # noqa: F811
    assert main(["generate", *CLI_TALK, "--seed", "3", "--output", "first.mp4"]) == 0
    again = [*CLI_TALK, "--extend", "first.mp4", "--seed", "4", "--output", "first.mp4", "--json"]
    assert main(["plan", *again[:-1]]) == 0
    assert "first.mp4 (0.4 s); in all 0.8 s" in capfd.readouterr().out
    assert main(["generate", *again]) == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    made = folder / "first (2).mp4"
    assert Path(answer["output"]).resolve() == made.resolve()
    assert probe_video(made).frames == 20 and probe_video(folder / "first.mp4").frames == 10
    assert answer["effective"]["frames_before"] == 10
    assert main(["generate", *again, "--width", "32", "--height", "32"]) == 2
    told = capfd.readouterr().err.splitlines()[-1]
    assert "width must be that of the video to go on from" in told
