"""Silent talk on the pocket model: every mode with every backend of this card gives the same latents with no
block, half of them and all of them swapped.
"""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from wanvideo.attempts import Attempts
from wanvideo.conditioning import encode_inputs, window_conditions
from wanvideo.lending import job_models
from wanvideo.memory_plan import SwapPlan
from wanvideo.model_cache import ModelCache
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import POCKET, prepare
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import ignore_progress, read_options, read_request
from wanvideo.stage_clock import StageClock
from wanvideo.window_denoising import denoise_window

ROOT = Path(__file__).parents[1]
PAIRS = list(itertools.product(quantization_modes(), attention_backends()))
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here"),
    pytest.mark.skipif(not (POCKET / "pocket_i2v.safetensors").is_file(), reason="no pocket model here"),
]


def plan_for(folder: Path, mode: str, backend: str) -> GenerationPlan:
    request = {
        "task": "talk", "image": str(ROOT / "examples/girl.png"),
        "prompt": "a cartoon girl is talking", "seed": 1, "num_frames": 9, "window_frames": 9,
        "motion_frames": 5, "num_inference_steps": 2, "guidance_scale": 3,
    }  # fmt: skip
    options = {
        "quantization": mode,
        "attention": backend,
        "base_precision": "bf16",
        "models_dir": str(POCKET),
    }
    (plan,) = prepare(read_request(request), read_options(options), folder / "clip.mp4")
    return plan


@pytest.fixture(scope="module")
def cache() -> Iterator[ModelCache]:
    cache = ModelCache()
    yield cache
    cache.unload()


@pytest.mark.parametrize(("mode", "backend"), PAIRS)
def test_swapping_changes_nothing(cache: ModelCache, tmp_path: Path, mode: str, backend: str) -> None:
    plan = plan_for(tmp_path, mode, backend)
    if (plan.quantization, plan.attention) != (mode, backend):
        pytest.skip(f"{plan.quantization} with {plan.attention} runs here")
    clock = StageClock(ignore_progress, 1)
    models = job_models(plan, cache, clock.say)
    inputs = encode_inputs(plan, models, clock.enter)
    conditions = window_conditions(plan, plan.windows[0], inputs, None, models)
    blocks, results = plan.models.transformer.num_layers, []
    for swapped in (0, blocks // 2, blocks):
        swap = SwapPlan(blocks=swapped, slots=2, streams=2, pinned_bytes=1 << 40)
        memory = replace(plan.memory, transformer=swap, passes_together=swapped > 0)
        attempts = Attempts(replace(models, memory=memory), clock)
        results.append(denoise_window(plan, plan.windows[0], inputs, conditions, attempts))
    assert all(bool(latents.isfinite().all()) for latents in results)
    assert torch.equal(results[1], results[0])
    assert torch.equal(results[2], results[0])
