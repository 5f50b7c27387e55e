"""The story: inputs are encoded once; then window by window condition, denoise, decode, append; at the end
one file.
"""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wanvideo.checkpoint.lora_model import set_lora_step
from wanvideo.conditioning import JobInputs, WindowConditions, encode_inputs, predictor, window_conditions
from wanvideo.finished_file import clear_windows, job_folder, join_windows
from wanvideo.geometry import latent_frames
from wanvideo.lending import DTYPES, JobModels
from wanvideo.media.color import match_colors
from wanvideo.media.pictures import to_frames
from wanvideo.model_cache import ModelCache
from wanvideo.models.transformer import WanTransformer, token_grid
from wanvideo.models.vae import decode
from wanvideo.plan import GenerationPlan
from wanvideo.registry import AttentionPlace, attention_backends
from wanvideo.request import AS_STORED, ignore_progress
from wanvideo.sampling.denoise import denoise
from wanvideo.sampling.guidance import Apg, Guidance, check_finite
from wanvideo.sampling.preview import LatentPreview
from wanvideo.sampling.samplers import find_sampler
from wanvideo.sampling.steppers import Stepper, make_stepper
from wanvideo.stage_clock import Progress, StageClock
from wanvideo.torch_switches import switched
from wanvideo.windows import Window

log = logging.getLogger(__name__)

NOISE_STRIDE = 1_000_003  # between the noise seeds of successive windows


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The finished file, and where the time went (seconds per stage)."""

    output: Path
    plan: GenerationPlan
    seconds: float
    stages: dict[str, float]


def generate(
    plan: GenerationPlan, cache: ModelCache, progress: Progress = ignore_progress
) -> GenerationResult:
    """Make the video of `plan`.

    Windows finished by an interrupted run of the same plan are taken up. Raises Cancelled when `progress`
    does; what is finished stays on disk (`finished_file.keep_finished` makes a file of it).
    """
    clock = StageClock(progress, len(plan.windows))
    models = _models(plan, cache, clock)
    folder = job_folder(plan)
    with switched(plan.switches):
        inputs = encode_inputs(plan, models, clock.enter)
        for window in plan.windows[folder.finished() :]:
            clock.enter_window(window.index)
            clock.enter("condition")
            motion = folder.load_state(window.index - 1)["motion"] if window.index else None
            conditions = window_conditions(plan, window, inputs, motion, models)
            clock.enter("denoise")
            latents = _denoise_window(plan, window, inputs, conditions, models, clock)
            clock.enter("decode")
            frames = _decode_window(plan, inputs, latents, models)
            clock.enter("save")
            new = frames[:, window.skip : window.skip + window.keep]
            folder.append(window.index, to_frames(new), {"motion": _motion(plan, frames)})
    clock.enter("join")
    output = join_windows(plan, folder, plan.output)
    clear_windows(folder)
    return GenerationResult(output=output, plan=plan, seconds=clock.total(), stages=clock.stages())


def _models(plan: GenerationPlan, cache: ModelCache, clock: StageClock) -> JobModels:
    return JobModels(
        files=plan.models,
        cache=cache,
        device=plan.device,
        dtype=DTYPES[plan.dtype],
        quantization=plan.quantization,
        own_cores=plan.own_cores,
        as_stored=plan.options.requantize == AS_STORED,
        joins_projections=plan.fuse_qkv_projections,
        rms_norm=plan.options.rms_norm_function,
        checks_layout=plan.options.force_contiguous_tensors,
        say=clock.say,
    )


def _denoise_window(
    plan: GenerationPlan,
    window: Window,
    inputs: JobInputs,
    conditions: WindowConditions,
    models: JobModels,
    clock: StageClock,
) -> Tensor:
    """Latents (16, T, h, w) of one window."""
    settings = plan.settings
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
    preview = LatentPreview(inputs.preview_colours)

    def on_step(index: int, estimate: Tensor) -> None:
        clock.step(index - settings.steps.start + 1, len(settings.steps), preview.push(estimate))

    with models.transformer() as transformer, torch.no_grad():
        latents = _first_latents(plan, inputs, noise, stepper).to(plan.device)
        predict = predictor(transformer, conditions, latents, settings.riflex_freq_index)
        latents = denoise(
            predict,
            latents,
            stepper,
            guidance,
            _steps(plan, transformer, token_grid(latents)),
            on_step,
            motion_latents=conditions.motion_latents,
        )
    check_finite(latents)
    return latents[0]


def _steps(plan: GenerationPlan, transformer: WanTransformer, grid: tuple[int, int, int]) -> Iterator[int]:
    """The steps of the plan, one by one; the model's self-attention and the strengths of its LoRAs are set as
    each begins.
    """
    log.info("Using %s attention", plan.attention)
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
        transformer.set_attention(load, place)
        set_lora_step(transformer, index)
        yield index


def _first_latents(plan: GenerationPlan, inputs: JobInputs, noise: Tensor, stepper: Stepper) -> Tensor:
    """Pure noise, or the source video with the noise of the first step of the slice."""
    if inputs.source_latents is None:
        return noise
    sigma = float(stepper.sigmas[plan.settings.steps.start])
    return (1 - sigma) * inputs.source_latents[None].cpu() + sigma * noise


def _decode_window(plan: GenerationPlan, inputs: JobInputs, latents: Tensor, models: JobModels) -> Tensor:
    """Pixels (3, F, H, W) in [-1, 1]; talk is pulled to the colours of its picture before motion frames are
    taken.
    """
    with models.vae() as vae:
        frames = decode(vae, latents)
    if inputs.colour_reference is None or plan.request.color_correction == 0:
        return frames
    return match_colors(frames, inputs.colour_reference.to(frames.device), plan.request.color_correction)


def _motion(plan: GenerationPlan, frames: Tensor) -> Tensor:
    """The last pixels of a window, fp32, which the next one continues."""
    return frames[:, -plan.settings.motion_frames :] if plan.settings.motion_frames else frames[:, :0]
