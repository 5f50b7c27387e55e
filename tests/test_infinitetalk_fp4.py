"""The preset "InfiniteTalk FP4 test" from loading to metadata: small, on the pocket model, without a card.

What is checked is what the documents this product was described in ask for: the model loads and is cached,
quantization is applied, text is encoded, the picture is processed, sampling runs, the video is saved.
"""

import json
import logging
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from tests.plan_cases import CPU
from wanvideo.lending import job_models
from wanvideo.media.frames import read_frames
from wanvideo.media.probe import probe_video
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import GenerationResult, generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.presets import join_layers, load_preset
from wanvideo.quantization.linear import QLinear
from wanvideo.request import ProgressEvent

SMALL: dict[str, Any] = {"width": 64, "height": 64, "num_frames": 9, "num_inference_steps": 2}
STAGES = ["text", "speech", "picture", "condition", "denoise", "decode", "save", "join"]
PARTS = ["text encoder", "speech encoder", "VAE", "image encoder", "model (fp4_experimental)"]


class Run(NamedTuple):
    """One job: what was decided, made, told while it ran, and logged."""

    plan: GenerationPlan
    result: GenerationResult
    events: list[ProgressEvent]
    lines: list[str]


class Program:
    """Jobs of one process, which share a cache."""

    def __init__(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        self._folder, self._caplog = folder, caplog
        self.cache = ModelCache()

    def run(self, **asked: Any) -> Run:
        chosen = {**SMALL, "image": str(self._folder / "face.png"), "prompt": "a man talks", "seed": 1}
        chosen |= {"models_dir": str(self._folder / "nothing"), **asked}
        request, options = join_layers([*load_preset("infinitetalk_fp4_test").layers(), chosen])
        name = f"{len(list(self._folder.iterdir()))}.mp4"
        (plan,) = prepare(request, options, self._folder / name, tries_kernels=True, machine=CPU)
        events: list[ProgressEvent] = []
        self._caplog.clear()
        with self._caplog.at_level(logging.INFO):
            result = generate(plan, self.cache, events.append)
        return Run(plan, result, events, list(self._caplog.messages))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "nothing" / "cache"))
    monkeypatch.setattr(
        "wanvideo.stage_clock.SAY_SECONDS", math.inf
    )  # what a slow machine would tell besides
    ramp = np.linspace(0, 255, 128 * 96 * 3).reshape(128, 96, 3).astype(np.uint8)
    Image.fromarray(ramp).save(tmp_path / "face.png")
    return tmp_path


def test_from_loading_to_metadata(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = Program(folder, caplog)
    run = program.run()
    assert run.plan.models.name == "pocket_i2v"
    loaded = [line for line in run.lines if line.startswith("[LOAD]")]
    assert loaded == [f"[LOAD] Loading {part}..." for part in PARTS]
    for part in PARTS:
        assert any(line.startswith(f"[CACHE] {part} cached (") for line in run.lines)
    assert "[INFO] FP4 quantization mode enabled (fp4_experimental)" in run.lines
    assert any(line.endswith(f"Using {run.plan.attention} attention") for line in run.lines)

    told = [event for event in run.events if event.message == ""]
    assert list(dict.fromkeys(event.stage for event in told)) == STAGES
    steps = [event for event in told if event.step]
    assert [(event.step, event.steps) for event in steps] == [(1, 2), (2, 2)]
    assert steps[-1].preview is not None

    with job_models(run.plan, program.cache, lambda _: None).transformer() as model:
        big = [module for module in model.blocks.modules() if isinstance(module, QLinear)]
        assert big and {module.format for module in big} == {"nvfp4"}
    check_file(run)


def check_file(run: Run) -> None:
    """What is asked for is what was made; what could not be is said with its reason."""
    video = probe_video(run.result.output)
    assert (video.width, video.height, video.frames, video.fps) == (64, 64, 9, 16)
    assert not video.has_sound
    written = json.loads(read_metadata(run.result.output)["comment"])
    effective = written["effective"]
    assert effective["quantization"] == "fp4_experimental"
    assert effective["attention"] == run.plan.attention != "sageattn_3_fp4"
    assert (effective["sampler"], effective["guidance_scale"], effective["flow_shift"]) == ("euler", 7, 7)
    assert written["request"]["prompt"] == "a man talks"
    notes = "; ".join(written["notes"])
    assert "sageattn_3_fp4: needs an NVIDIA card of compute capability 10.0 or higher" in notes
    assert f"{run.plan.attention} runs instead" in notes


def test_a_second_run_loads_nothing(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = Program(folder, caplog)
    first, held = program.run(), program.cache.bytes
    same, other = program.run(), program.run(prompt="a woman sings", seed=2)
    for run in (same, other):
        assert not any("[LOAD]" in line for line in run.lines)
        assert "[CACHE] Using cached model (fp4_experimental)" in run.lines
    assert "[CACHE] Using cached prompts" in same.lines
    assert "[CACHE] Using cached text encoder" in other.lines
    assert program.cache.bytes == held
    assert first.result.output != same.result.output and same.result.output.exists()


def test_another_start_of_the_program_needs_no_text_encoder_for_known_words(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = Program(folder, caplog).run()
    again = Program(folder, caplog).run()
    loaded = [line for line in again.lines if line.startswith("[LOAD]")]
    assert loaded == [f"[LOAD] Loading {part}..." for part in PARTS if part != "text encoder"]
    frames = [list(read_frames(str(run.result.output), 16)) for run in (first, again)]
    np.testing.assert_array_equal(*frames)
