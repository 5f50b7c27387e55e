"""Step caches from the request to the file: talk in two windows, three passes a step, stopped and resumed."""

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
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import ProgressEvent, read_options, read_request
from wanvideo.step_cache.table import step_caches

STEPS = 7
NAMES = list(step_caches())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    write_tiny_models(folder / "models")
    picture = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    Image.fromarray(picture).save(folder / "picture.png")
    time = np.arange(int(16000 * 0.5)) / 16000
    soundfile.write(folder / "speech.wav", np.sin(time * 1500) * 0.3, 16000)
    return folder


@pytest.fixture(scope="module")
def models() -> ModelCache:
    return ModelCache()


def plan_of(home: Path, output: str, **options: Any) -> GenerationPlan:
    request = {
        "task": "talk",
        "image": str(home / "picture.png"),
        "audio": [str(home / "speech.wav")],
        "num_frames": 13,
        "steps": STEPS,
        "guidance_scale": 5,
        "audio_guidance_scale": 4,
        "seed": 3,
    }
    run = read_options({"models_dir": str(home / "models"), **options})
    plan = prepare(read_request(request), run, home / output)[0]
    assert (len(plan.windows), plan.passes_per_step) == (2, 3)
    return plan


def frames_of(path: Path) -> np.ndarray:
    return np.stack(list(read_frames(str(path), 25.0)))


@pytest.mark.parametrize("name", NAMES)
def test_a_job_that_is_stopped_and_resumed_makes_the_same_video(
    home: Path, models: ModelCache, name: str
) -> None:
    options = {"step_cache": name, "step_cache_threshold": 10}
    whole = generate(plan_of(home, f"{name}_whole.mp4", **options), models)
    told = whole.plan.effective()["computed_passes"]
    computed = [int(window.split()[0]) for window in told]
    assert [window.split(" of ")[1] for window in told] == [str(3 * STEPS)] * 2
    assert computed[0] == computed[1] and 3 * 2 <= computed[0] < 3 * STEPS
    written = json.loads(read_metadata(whole.output)["comment"])["effective"]
    assert written["computed_passes"] == told and written["step_cache"] == name

    plan = plan_of(home, f"{name}_parts.mp4", **options)

    def stop(event: ProgressEvent) -> None:
        if event.window == 1 and event.stage == "denoise":
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(plan, models, stop)
    assert job_folder(plan).finished() == 1
    resumed = generate(plan, models)
    assert np.array_equal(frames_of(whole.output), frames_of(resumed.output))
    assert resumed.plan.effective()["computed_passes"] == told


def test_what_a_stopped_job_keeps_tells_of_its_windows(home: Path, models: ModelCache) -> None:
    plan = plan_of(home, "kept.mp4", step_cache="magcache", step_cache_threshold=10)

    def stop(event: ProgressEvent) -> None:
        if event.window == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(plan, models, stop)
    kept = keep_finished(plan)
    assert kept is not None
    assert len(json.loads(read_metadata(kept)["comment"])["effective"]["computed_passes"]) == 1


def test_off_and_computing_every_step_are_the_same_video(home: Path, models: ModelCache) -> None:
    off = generate(plan_of(home, "off.mp4"), models)
    assert "computed_passes" not in off.plan.effective()
    first = frames_of(off.output)
    for name in NAMES:
        plan = plan_of(home, f"{name}_all.mp4", step_cache=name)
        plan = replace(plan, step_cache=replace(plan.step_cache, threshold=0.0))
        made = generate(plan, models)
        assert made.plan.effective()["computed_passes"] == [f"{3 * STEPS} of {3 * STEPS}"] * 2
        assert np.array_equal(frames_of(made.output), first)
