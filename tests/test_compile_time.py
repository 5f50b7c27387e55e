"""The seconds of compiling in a job: a stage of their own, and no part of what a forecast learns of."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch

from tests.tiny_models import write_tiny_models
from wanvideo import lending
from wanvideo.cache_folder import VARIABLE
from wanvideo.compiled_blocks import compiled_blocks
from wanvideo.hardware import probe_hardware
from wanvideo.memory.kept import read_calibration
from wanvideo.memory.stages import DENOISE
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import GenerationRequest, RuntimeOptions


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RuntimeOptions:
    """With compiled blocks, of a backend that compiles nothing, so that it takes no minute."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(lending, "compiled_blocks", partial(compiled_blocks, backend="eager"))
    torch._dynamo.reset()
    models = write_tiny_models(tmp_path / "models")
    return RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path / "out"), compile="blocks")


def plan_of(options: RuntimeOptions, seed: int) -> GenerationPlan:
    request = GenerationRequest(task="text_to_video", model="tiny_t2v", prompt="a ball", seed=seed)
    (plan,) = prepare(request, options)
    return plan


def test_a_job_that_compiles_teaches_the_forecast_its_warm_steps(options: RuntimeOptions) -> None:
    cache = ModelCache()
    generate(plan_of(replace(options, compile="off"), 1), cache)  # loads the model
    plan = plan_of(options, 2)
    assert plan.forecast.compile_seconds == 0
    first = generate(plan, cache)
    second = generate(plan_of(options, 3), cache)
    assert first.stages["compile"] > 0 and "compile" not in second.stages
    assert sum(first.stages.values()) == pytest.approx(first.seconds, abs=0.5)
    known = read_calibration(probe_hardware())
    assert known.compiling == {plan.kind: first.stages["compile"]}
    assert "compile" not in known.corrections[plan.kind]
    assert plan_of(options, 4).forecast.compile_seconds == first.stages["compile"]
    assert first.stages[DENOISE] < 5 * second.stages[DENOISE]
