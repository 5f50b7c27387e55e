"""All three tasks from request to playable file on tiny random models: real classes, real files, the same
code as 14B.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.tiny_models import write_tiny_models
from wanvideo.errors import Cancelled
from wanvideo.finished_file import job_folder, keep_finished
from wanvideo.media.frames import read_frames
from wanvideo.media.probe import probe_video
from wanvideo.media.sound import load_sound
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import GenerationResult, generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import ProgressEvent, RuntimeOptions, ignore_progress, read_request


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_tiny_models(folder / "models")
    picture = np.linspace(0, 255, 96 * 64 * 3).reshape(64, 96, 3).astype(np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    Image.fromarray(picture[::-1]).save(folder / "end.png")
    time = np.arange(int(44100 * 0.6)) / 44100
    stereo = np.stack([np.sin(time * 1500), np.sin(time * 2500)], axis=1) * 0.3
    soundfile.write(folder / "speech.wav", stereo, 44100)
    return folder


@pytest.fixture(scope="module")
def cache() -> ModelCache:
    return ModelCache()


def plan_of(home: Path, **request: Any) -> GenerationPlan:
    files = {
        name: [str(home / item) for item in value] if name == "audio" else str(home / value)
        for name, value in request.items()
        if name in ("image", "end_image", "video", "audio")
    }
    options = RuntimeOptions(models_dir=str(home / "models"), output_dir=str(home / "out"))
    plan = prepare(read_request({"seed": 3, **request, **files}), options)[0]
    return replace(
        plan, output=home / "out" / f"{abs(hash(json.dumps(request, sort_keys=True, default=str)))}.mp4"
    )


def make(home: Path, cache: ModelCache, **request: Any) -> GenerationResult:
    return generate(plan_of(home, **request), cache)


REQUESTS: dict[str, dict[str, Any]] = {
    "talk": {"task": "talk", "image": "picture.png", "audio": ["speech.wav"], "prompt": "first | second"},
    "two speakers in turn": {
        "task": "talk",
        "image": "picture.png",
        "audio": ["speech.wav", "speech.wav"],
        "audio_order": "sequence",
        "speaker_boxes": [[0, 0, 40, 60], [50, 0, 96, 60]],
        "num_frames": 13,
        "apg": True,
    },
    "silent talk": {"task": "talk", "image": "picture.png", "num_frames": 5, "guidance_scale": 1, "fps": 16},
    "image to video": {"task": "image_to_video", "image": "picture.png", "sampler": "dpm++"},
    "image to image": {
        "task": "image_to_video",
        "image": "picture.png",
        "end_image": "end.png",
        "sampler": "euler",
    },
    "text to video": {"task": "text_to_video", "prompt": "a red ball", "guidance_scale": [4, 1]},
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_every_task_ends_in_a_playable_file(home: Path, cache: ModelCache, request_: dict[str, Any]) -> None:
    plan = plan_of(home, **request_)
    result = generate(plan, cache)
    video = probe_video(result.output)
    assert (video.width, video.height) == (plan.width, plan.height)
    assert video.frames == plan.total_frames == sum(window.keep for window in plan.windows)
    assert video.fps == plan.settings.fps
    assert video.has_sound == plan.uses_speech
    assert not job_folder(plan).segments(), "the windows of a finished job are cleared away"
    written = json.loads(read_metadata(result.output)["comment"])
    assert written["effective"]["seed"] == 3
    assert str(home) not in json.dumps(written)
    assert set(result.stages) >= {"text", "picture", "condition", "denoise", "decode", "save", "join"}


def test_sound_is_the_original_one(home: Path, cache: ModelCache) -> None:
    result = make(home, cache, **REQUESTS["talk"], seed=11)
    sound = load_sound(result.output)
    assert (sound.rate, sound.samples.shape[1]) == (44100, 2), (
        "not the 16 kHz mono track that the model hears"
    )
    assert abs(sound.seconds - probe_video(result.output).seconds) <= 1 / 25


def test_source_video_gets_a_voice(home: Path, cache: ModelCache) -> None:
    source = make(home, cache, task="text_to_video", prompt="a source", seed=5).output
    result = make(home, cache, task="talk", video=source.relative_to(home), audio=["speech.wav"])
    assert probe_video(result.output).frames == 15


def test_video_to_video_starts_from_the_source(home: Path, cache: ModelCache) -> None:
    source = make(home, cache, task="text_to_video", prompt="a source", seed=6)
    request = {
        "task": "text_to_video",
        "video": source.output.relative_to(home),
        "num_inference_steps": 4,
        "sampler": "euler",
    }
    near = make(home, cache, **request, denoise_strength=0.25)
    far = make(home, cache, **request, denoise_strength=1)
    original = _frames(source.output)
    assert _distance(_frames(near.output), original) < _distance(_frames(far.output), original)


def test_same_seed_twice_is_the_same_video_and_another_seed_is_not(home: Path, cache: ModelCache) -> None:
    first, again, other = (make(home, cache, **REQUESTS["talk"], seed=seed) for seed in (21, 21, 22))
    assert first.output != again.output, "nothing is overwritten"
    np.testing.assert_array_equal(_frames(first.output), _frames(again.output))
    np.testing.assert_array_equal(load_sound(first.output).samples, load_sound(again.output).samples)
    assert _distance(_frames(first.output), _frames(other.output)) > 0


def test_second_run_loads_nothing(home: Path) -> None:
    cache = ModelCache()
    make(home, cache, **REQUESTS["image to video"], prompt="a prompt that no other test has")
    held = cache.bytes
    make(home, cache, **REQUESTS["image to video"], seed=4, prompt="another prompt")
    assert cache.bytes == held


def _stop_in_the_second_window(event: ProgressEvent) -> None:
    if event.window == 1 and event.step == 1:
        raise Cancelled


def test_interrupted_job_resumes_to_the_same_video(home: Path, cache: ModelCache) -> None:
    plan = plan_of(home, **REQUESTS["talk"], seed=31)
    assert len(plan.windows) == 3
    with pytest.raises(Cancelled):
        generate(plan, cache, _stop_in_the_second_window)
    seen: list[int] = []
    resumed = generate(plan, cache, lambda event: seen.append(event.window) if event.step else None)
    assert set(seen) == {1, 2}, "the first window is not made again"
    whole = generate(replace(plan, output=plan.output.with_stem("whole")), cache)
    np.testing.assert_array_equal(_frames(resumed.output), _frames(whole.output))


def test_windows_of_another_picture_are_not_taken_up(home: Path, cache: ModelCache, tmp_path: Path) -> None:
    picture = tmp_path / "face.png"
    picture.write_bytes((home / "picture.png").read_bytes())
    plan = plan_of(home, **{**REQUESTS["talk"], "image": str(picture)}, seed=32)
    with pytest.raises(Cancelled):
        generate(plan, cache, _stop_in_the_second_window)
    assert job_folder(plan).finished() == 1
    picture.write_bytes((home / "end.png").read_bytes())
    assert job_folder(plan).finished() == 0


def test_stopped_job_leaves_one_file_with_what_was_finished(home: Path, cache: ModelCache) -> None:
    plan = plan_of(home, **REQUESTS["talk"], seed=33)
    plan = replace(plan, output=home / "stopped" / "clip.mp4")
    with pytest.raises(Cancelled):
        generate(plan, cache, _stop_in_the_second_window)
    part = keep_finished(plan)
    assert part is not None and probe_video(part).frames == 9
    assert [path.name for path in (home / "stopped").iterdir()] == ["clip_part.mp4"]
    assert keep_finished(plan) is None


def test_progress_tells_every_step_with_a_preview(home: Path, cache: ModelCache) -> None:
    events: list[ProgressEvent] = []
    generate(plan_of(home, **REQUESTS["text to video"], seed=41), cache, events.append)
    steps = [event for event in events if event.step]
    assert [(event.step, event.steps) for event in steps] == [(1, 2), (2, 2)]
    assert steps[1].preview.dtype == np.uint8 and steps[1].preview.shape == (8, 8, 3)


def test_a_model_that_makes_nan_is_no_success(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    from wanvideo.errors import UserError

    models = write_tiny_models(tmp_path / "models")
    state = load_file(models / "tiny_t2v.safetensors")
    name = "blocks.0.self_attn.norm_q.weight"  # a number in the file, and infinite once it is multiplied
    state[name] = torch.full_like(state[name], 1e38)
    save_file(state, models / "tiny_t2v.safetensors")
    options = RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path / "out"))
    plan = prepare(read_request({"task": "text_to_video", "prompt": "x", "seed": 1}), options)[0]
    with pytest.raises(UserError, match="NaN"):
        generate(plan, ModelCache(), ignore_progress)
    assert not plan.output.exists()


def _frames(path: Path) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.stack(list(read_frames(path, probe_video(path).fps)))


def _distance(first: np.ndarray[Any, Any], second: np.ndarray[Any, Any]) -> float:
    return float(np.abs(first.astype(float) - second.astype(float)).mean())
