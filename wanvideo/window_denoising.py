"""One window of latents, from noise to a clean estimate, step by step."""

import logging
from collections.abc import Iterator

import torch
from torch import Tensor

from wanvideo.attempts import Attempts
from wanvideo.checkpoint.lora_model import set_lora_step
from wanvideo.conditioning import JobInputs, WindowConditions, predictor
from wanvideo.geometry import latent_frames
from wanvideo.models.transformer import WanTransformer, token_grid
from wanvideo.plan import GenerationPlan
from wanvideo.quality.guard import LatentGuard
from wanvideo.registry import AttentionPlace, attention_backends
from wanvideo.sampling.denoise import denoise
from wanvideo.sampling.guidance import Apg, Guidance
from wanvideo.sampling.preview import LatentPreview
from wanvideo.sampling.samplers import find_sampler
from wanvideo.sampling.steppers import Stepper, make_stepper
from wanvideo.step_cache.decide import steps_of_window
from wanvideo.step_cache.window import WindowCache, open_cache
from wanvideo.windows import Window

log = logging.getLogger(__name__)

NOISE_STRIDE = 1_000_003  # between the noise seeds of successive windows


def denoise_window(
    plan: GenerationPlan, window: Window, inputs: JobInputs, conditions: WindowConditions, attempts: Attempts
) -> Tensor:
    """Latents (16, T, h, w) of one window. Raises BrokenOutput when they are no picture."""
    settings, models = plan.settings, attempts.models
    generator = torch.Generator().manual_seed(plan.seed + NOISE_STRIDE * window.index)
    noise = torch.randn(
        1, 16, latent_frames(window.frames), plan.height // 8, plan.width // 8, generator=generator
    )
    stepper = make_stepper(
        find_sampler(settings.sampler),
        steps=settings.num_inference_steps,
        shift=settings.flow_shift,
        generator=generator,
    )
    guidance = Guidance(
        settings.guidance_scale, settings.audio_guidance_scale, Apg() if plan.request.apg else None
    )
    preview, guard = LatentPreview(inputs.preview_colours), LatentGuard(settings.steps)

    def on_step(index: int, estimate: Tensor) -> None:
        guard.push(index, estimate)
        done = index - settings.steps.start + 1
        attempts.clock.step(done, len(settings.steps), preview.push(estimate))

    with models.transformer() as transformer, torch.no_grad():
        latents = _first_latents(plan, inputs, noise, stepper).to(plan.device)
        cache = _open_cache(plan, transformer, stepper)
        predict = predictor(
            transformer,
            conditions,
            latents,
            settings.riflex_freq_index,
            together=models.memory.passes_together,
            reuse=cache.reuse,
        )
        models.put_embeddings_away(transformer)
        latents = denoise(
            predict,
            latents,
            stepper,
            guidance,
            cache.watch(steps_of(plan, transformer, token_grid(latents), attempts)),
            on_step,
            motion_latents=conditions.motion_latents,
        )
    attempts.passes = cache.passes
    guard.finish(latents)
    return latents[0]


def steps_of(
    plan: GenerationPlan, transformer: WanTransformer, grid: tuple[int, int, int], attempts: Attempts
) -> Iterator[int]:
    """The steps of the plan, one by one; the model's self-attention and the strengths of its LoRAs are set as
    each begins, and memory is looked after.
    """
    log.info("[INFO] Using %s attention", plan.attention)
    load, steps = attention_backends()[plan.attention].load, plan.settings.steps
    for count, index in enumerate(steps):
        place = AttentionPlace(
            step=count,
            steps=len(steps),
            frames=grid[0],
            frame_tokens=grid[1] * grid[2],
            speakers=plan.speakers if plan.uses_speech else 1,
            per_block_mean=plan.options.per_block_mean,
        )
        attempts.relieve(transformer)
        transformer.set_attention(load, place)
        set_lora_step(transformer, index)
        yield index


def _open_cache(plan: GenerationPlan, transformer: WanTransformer, stepper: Stepper) -> WindowCache:
    """The step cache of the window, decided with the LoRAs at their first strengths whatever the window
    before left: a job that is resumed here decides alike.
    """
    if not plan.step_cache.is_on:
        return WindowCache()
    steps = steps_of_window(plan.settings, plan.models)
    set_lora_step(transformer, steps.run[0])
    return open_cache(plan.step_cache, steps, transformer, stepper.timesteps.to(plan.device))


def _first_latents(plan: GenerationPlan, inputs: JobInputs, noise: Tensor, stepper: Stepper) -> Tensor:
    """Pure noise, or the source video with the noise of the first step of the slice."""
    if inputs.source_latents is None:
        return noise
    sigma = float(stepper.sigmas[plan.settings.steps.start])
    return (1 - sigma) * inputs.source_latents[None].cpu() + sigma * noise
