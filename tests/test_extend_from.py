"""Videos that go on from the middle of a finished one: what is kept, what is heard there, how long all is."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch

from tests.plan_cases import DUET, NOTHING, PAIR, SPOKEN, TALK, TEXT, Values, plan
from tests.test_cli import TALK as CLI_TALK
from tests.test_cli import Streams, folder, models  # noqa: F401  # fixtures
from tests.test_extend import RATE, cache, clicks, frames_of, heard, pixels_of, seen  # noqa: F401  # fixtures
from tests.test_extend import Seen as Seen
from tests.test_pipeline import home, plan_of  # noqa: F401  # home is a fixture
from tests.test_plan_extend import HEARD, SPOKEN_AGAIN, going_on
from wanvideo import speech_inputs
from wanvideo.cli import main
from wanvideo.errors import UserError
from wanvideo.finished_file import WAYS, job_folder, read_ways, with_way
from wanvideo.jobs.job import Job
from wanvideo.jobs.so_far import _sound
from wanvideo.lending import job_models
from wanvideo.media.ffmpeg import run_ffmpeg
from wanvideo.media.old_video import probe_old_video
from wanvideo.media.probe import probe_video
from wanvideo.media.sound import load_sound
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.request import to_mapping

FRAMES = 30
CLICKS = (0.1, 0.5, 0.9, 1.1)
SPOKEN_FILM: Values = {"task": "talk", "image": "picture.png", "audio": ["clicks.wav"], "prompt": "a | b"}
# The windows of 30 frames begin with their new ones at 0, 9, 13, 17, ...
CUT = 13


@pytest.fixture(scope="module")
def film(home: Path, cache: ModelCache) -> Path:  # noqa: F811
    """A talk of 1.2 seconds, with a recording that clicks."""
    samples = np.zeros(int(RATE * 1.2), np.float32)
    for time in CLICKS:
        samples[round(RATE * time) :][:60] = 0.8
    soundfile.write(home / "clicks.wav", samples, RATE)
    made = generate(plan_of(home, **SPOKEN_FILM), cache)
    assert [window.keep for window in made.plan.windows] == [9, 4, 4, 4, 4, 4, 1]
    return made.output


def redone(home: Path, film: Path, frame: int = CUT, **request: Any) -> GenerationPlan:  # noqa: F811
    """What is asked for when all from `frame` on is made anew."""
    asked = {**SPOKEN_FILM, "extends": str(film), "extends_from": frame / 25, "audio_start": frame / 25}
    return plan_of(home, **{**asked, "seconds": (FRAMES - frame) / 25, "seed": 91, **request})


def test_a_video_made_anew_from_a_window_on_keeps_length_sound_and_first_frames(
    home: Path,  # noqa: F811
    film: Path,
    cache: ModelCache,  # noqa: F811
    seen: Seen,  # noqa: F811
) -> None:
    asked = redone(home, film)
    made = generate(asked, cache)
    assert [window.keep for window in asked.windows] == [4, 4, 4, 4, 1], "the very windows of the film"
    old, new = frames_of(film), frames_of(made.output)
    assert len(new) == probe_video(made.output).frames == FRAMES
    np.testing.assert_array_equal(new[:CUT], old[:CUT])
    assert (new[CUT:] != old[CUT:]).any()
    torch.testing.assert_close(seen[0][0], pixels_of(asked, list(old[CUT - 5 : CUT])), rtol=0, atol=0)
    assert clicks(made.output) == pytest.approx(CLICKS, abs=0.5 / 25)
    sound, first = load_sound(made.output), load_sound(film)
    assert len(sound.samples) == len(first.samples)
    assert np.abs(sound.samples - first.samples).mean() < 0.003
    assert f"{film.name} is kept for its first 0.52 seconds" in made.plan.notes


def test_made_anew_twice_it_is_still_in_step(home: Path, film: Path, cache: ModelCache) -> None:  # noqa: F811
    once = generate(redone(home, film), cache).output
    twice = generate(redone(home, once, CUT + 8, seed=92), cache).output
    assert probe_video(twice).frames == FRAMES
    assert clicks(twice) == pytest.approx(CLICKS, abs=0.5 / 25)
    np.testing.assert_array_equal(frames_of(twice)[: CUT + 8], frames_of(once)[: CUT + 8])


@pytest.mark.parametrize("voices", [1, 2])
def test_the_model_hears_what_it_heard_there(
    home: Path,  # noqa: F811
    film: Path,
    heard: list[npt.NDArray[np.float32]],  # noqa: F811
    voices: int,
) -> None:
    """The loudness is that of the whole recording, and the frames that are repeated have their own speech."""
    audio: Values = {"audio": ["clicks.wav"] * voices}
    for asked in (plan_of(home, **{**SPOKEN_FILM, **audio}), redone(home, film, **audio)):
        speech_inputs.speech_of_job(asked, job_models(asked, ModelCache(), lambda _: None))
    whole, part = heard[0], heard[voices]
    lead = (CUT - 5) * speech_inputs.SAMPLES_PER_FRAME
    common = min(len(whole) - lead, len(part), (FRAMES - CUT + 5) * speech_inputs.SAMPLES_PER_FRAME)
    np.testing.assert_allclose(part[:common], whole[lead:][:common], atol=1e-6)


def test_speech_may_begin_late_without_an_old_video(home: Path, film: Path, cache: ModelCache) -> None:  # noqa: F811
    asked = plan_of(home, **SPOKEN_FILM, audio_start=0.4)
    assert asked.total_frames == FRAMES - 10
    assert clicks(generate(asked, cache).output) == pytest.approx([0.1, 0.5, 0.7], abs=0.5 / 25)
    over = redone(home, film, audio_start=5.0, seconds=0.2)
    made = generate(over, cache).output
    assert probe_video(made).frames == CUT + 5 and clicks(made) == pytest.approx([0.1, 0.5], abs=0.5 / 25)


def test_a_foreign_video_is_cut_too(home: Path, film: Path, cache: ModelCache) -> None:  # noqa: F811
    foreign = home / "cut.mkv"
    run_ffmpeg(["-i", str(film), "-c:v", "mpeg4", "-q:v", "1", "-bf", "2", "-c:a", "libopus", str(foreign)])
    made = generate(redone(home, foreign, seed=93), cache).output
    new = frames_of(made).astype(float)
    assert len(new) == FRAMES and np.abs(new[:CUT] - frames_of(foreign)[:CUT]).mean() < 3
    assert clicks(made) == pytest.approx(CLICKS, abs=1 / 25)


def test_a_picture_s_video_goes_on_from_the_frame_before_the_cut(
    home: Path,  # noqa: F811
    film: Path,
    cache: ModelCache,  # noqa: F811
    seen: Seen,  # noqa: F811
) -> None:
    asked = plan_of(home, task="image_to_video", prompt="on", extends=str(film), extends_from=7 / 25)
    made = generate(asked, cache)
    picture = seen[0][1].picture
    assert picture is not None
    assert torch.equal(picture.picture, pixels_of(asked, [frames_of(film)[6]]))
    assert probe_video(made.output).frames == 7 + asked.total_frames


def test_the_video_so_far_hears_the_same(home: Path, film: Path) -> None:  # noqa: F811
    asked = redone(home, film)
    job = Job(id=1, state="running", request=to_mapping(asked.request), options={}, created=0.0)
    sound = _sound(job, [film])
    assert sound is not None
    loud = np.flatnonzero(np.abs(sound.samples).max(axis=1) > 0.3) / sound.rate
    assert loud[0] == pytest.approx(0.9 - CUT / 25, abs=0.01)


def test_each_window_remembers_what_computed_it(home: Path, film: Path, cache: ModelCache) -> None:  # noqa: F811
    def steer(running: GenerationPlan, window: Any) -> GenerationPlan:
        return replace(running, quantization="fp8_e4m3fn") if window.index == 1 else running

    asked = redone(home, film, FRAMES - 5, seed=94)
    made = generate(asked, cache, steer=steer).plan
    exact = f"{asked.attention}, {asked.quantization}"
    assert made.effective()["window_ways"] == [exact, f"{asked.attention}, fp8_e4m3fn"]
    assert "window_ways" not in asked.effective()
    assert asked.effective()["window_frames"] == 9 and asked.effective()["motion_frames"] == 5
    state = with_way(with_way(None, asked)[WAYS], asked)[WAYS]
    assert read_ways(state) == (exact, exact) and read_ways(None) == ()
    assert not job_folder(asked).segments()


REFUSED: list[tuple[float, str]] = [
    (1.5, r"can't be kept up to there, got '1.5 s'; allowed: 0.04 to 1.20 seconds"),
    (0.01, "can't be kept up to there"),
]


@pytest.mark.parametrize(("seconds", "told"), REFUSED)
def test_a_cut_outside_the_video_is_refused(film: Path, seconds: float, told: str) -> None:
    with pytest.raises(UserError, match=told):
        probe_old_video(film, seconds)


def test_its_end_is_no_cut(film: Path) -> None:
    whole = probe_old_video(film)
    assert probe_old_video(film, 1.2) == whole and not whole.is_cut
    part = probe_old_video(film, 0.5)
    assert part.is_cut and (part.facts.frames, part.facts.seconds) == (12, 0.48)


SILENT_CUT = "extends_from has no effect without a video to go on from"
NOTED: list[tuple[Values, Any, str, bool]] = [
    ({**TALK, "image": "a.png", "extends_from": 1}, SPOKEN, SILENT_CUT, True),
    ({**TEXT, "extends_from": 1}, NOTHING, "extends_from has no effect in text_to_video", True),
    ({**TALK, "image": "a.png", "audio_start": 1}, SPOKEN, "audio_start has no effect without speech", True),
    ({**SPOKEN_AGAIN, "audio_start": 1}, HEARD, "audio_start", False),
    ({**PAIR, "extends": "old.mp4", "audio_start": 1}, replace(DUET, old=going_on().old), "which", False),
]


@pytest.mark.parametrize(("asked", "facts", "told", "is_said"), NOTED)
def test_what_is_said(asked: Values, facts: Any, told: str, is_said: bool) -> None:
    assert any(note.startswith(told) for note in plan(asked, facts).notes) == is_said


def test_the_speech_must_reach_beyond_its_begin_unless_a_length_is_given() -> None:
    with pytest.raises(UserError, match="the speech is over before audio_start, got '9'; allowed: 0 to 4.00"):
        plan({**SPOKEN_AGAIN, "audio_start": 9}, HEARD)
    assert plan({**SPOKEN_AGAIN, "audio_start": 9, "seconds": 1}, HEARD).total_frames == 25
    assert plan({**SPOKEN_AGAIN, "audio_start": 1}, HEARD).total_frames == 75


def test_the_command_line_makes_the_rest_anew(folder: Path, capfd: Streams) -> None:  # noqa: F811
    assert main(["generate", *CLI_TALK, "--seed", "3", "--output", "first.mp4"]) == 0
    cut = ["--extend", "first.mp4", "--extend-from", "0.24", "--audio-start", "0.24"]
    again = [*CLI_TALK, *cut, "--seed", "4", "--output", "second.mp4"]
    capfd.readouterr()
    assert main(["generate", *again]) == 0
    assert probe_video(folder / "second.mp4").frames == probe_video(folder / "first.mp4").frames == 10
