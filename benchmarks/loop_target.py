"""What the application adds to the forward passes of a step-distilled model: 4 steps, one pass each."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor

from benchmarks.forwards import DENSE, as_compiled, our_call
from benchmarks.measuring import device, milliseconds, wait
from benchmarks.modes import REPEATS
from benchmarks.planned import planned
from benchmarks.random_model import DTYPE, TINY, WAN_14B, build
from benchmarks.target_row import Bench, Found, Goal, Target, ratio_at_most
from wanvideo.attempts import Attempts
from wanvideo.conditioning import JobInputs, WindowConditions
from wanvideo.geometry import latent_frames
from wanvideo.lending import JobModels
from wanvideo.model_cache import ModelCache
from wanvideo.models.transformer import TEXT_TOKENS, WanTransformer
from wanvideo.plan import GenerationPlan
from wanvideo.registry import quantization_modes
from wanvideo.request import ignore_progress
from wanvideo.stage_clock import StageClock
from wanvideo.window_denoising import denoise_window

STEPS = 4
PREVIEW_COLOURS = (17, 3)


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModels(JobModels):
    """Lends a model that is there already."""

    model: WanTransformer

    @contextmanager
    def transformer(self) -> Iterator[WanTransformer]:
        """The model as it is."""
        yield self.model


@torch.no_grad()
def _loop(bench: Bench) -> Found:
    """The application's own denoising of a window, with previews, guard and settings of each step, against
    as many forward passes of the same compiled model.
    """
    plan = planned(bench, num_inference_steps=STEPS, guidance_scale=1.0)
    size = TINY if bench.quick else WAN_14B
    model = bench.keep("loop", lambda: build(size, quantization_modes()[DENSE])[0])
    generator = torch.Generator().manual_seed(0)
    prompt = torch.randn(TEXT_TOKENS, size.text_dim, generator=generator)
    with as_compiled(model):
        denoise = _denoising(plan, model, prompt)
        looped = denoise()
        spent = median(_seconds(denoise) for _ in range(REPEATS)) * 1e3
        shape = (1, 16, latent_frames(plan.windows[0].frames), plan.height // 8, plan.width // 8)
        latents = torch.randn(shape, generator=generator).to(device())
        call = our_call(model, latents, prompt[None].to(device(), DTYPE))
        bare = STEPS * milliseconds(call, warm_ups=1, repeats=REPEATS)
    return Found(
        value=spent,
        unit="ms",
        peer=bare,
        ratio=spent / bare,
        holds=bool(torch.isfinite(looped).all()),
        quality="the application's own steps",
        how=f"{STEPS} steps, bf16 exact, compiled; noise, prompt and previews are in the time",
    )


def _denoising(plan: GenerationPlan, model: WanTransformer, prompt: Tensor) -> Callable[[], Tensor]:
    """The denoising of the plan's window; its models are that one alone."""
    clock = StageClock(ignore_progress, len(plan.windows))
    models = BuiltModels(files=plan.models, cache=ModelCache(), device=plan.device, dtype=DTYPE, model=model)
    inputs = JobInputs(prompt_embeds={plan.prompts[0]: prompt}, preview_colours=torch.zeros(PREVIEW_COLOURS))
    conditions = WindowConditions(prompt_embeds=prompt)
    attempts = Attempts(models, clock)
    return lambda: denoise_window(plan, plan.windows[0], inputs, conditions, attempts)


def _seconds(call: Callable[[], Tensor]) -> float:
    """By the host's clock: what the host adds is in it."""
    wait()
    begun = time.perf_counter()
    call()
    wait()
    return time.perf_counter() - begun


TARGETS = (
    Target(
        name="distilled 4 steps",
        measure=_loop,
        goal=Goal(text="<= 1.02 x the time", is_met=ratio_at_most(1.02)),
        peer="4 bare forward passes",
    ),
)
