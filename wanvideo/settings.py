"""The numbers of a plan: the request's own, else the model's, else the published ones. Pure arithmetic."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from wanvideo.defaults import FLOW_SHIFT, TASK_DEFAULTS
from wanvideo.errors import UserError
from wanvideo.request import REQUEST_FIELDS, GenerationRequest
from wanvideo.sampling.samplers import find_sampler

TRAINED_FRAMES = 81  # RIFLEx is for clips longer than the trained one


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The request's numbers after defaults: model profile before task, a set field before both.

    `steps` is the slice of the schedule that runs. `riflex_freq_index` is 0 wherever RIFLEx has no effect.
    """

    sampler: str
    num_inference_steps: int
    steps: range
    guidance_scale: tuple[float, ...]
    audio_guidance_scale: float
    flow_shift: float
    fps: float
    motion_frames: int
    negative_prompt: str
    riflex_freq_index: int = 0


def with_defaults(
    request: GenerationRequest, profile: Mapping[str, Mapping[str, Any]], old_fps: float | None = None
) -> Mapping[str, Any]:
    """Field -> value for every field with a default of its own; `profile` holds the model's, per task.
    `old_fps` is the rate of a video to go on from.
    """
    values = {**TASK_DEFAULTS[request.task], **profile.get(request.task, {})}
    for name in (*values, "flow_shift"):
        if getattr(request, name) is not None:
            values[name] = getattr(request, name)
    if old_fps is not None:
        values["fps"] = old_fps
    return values


def may_start_from_video(request: GenerationRequest) -> bool:
    """Whether there is a video that the denoising of this task can begin with."""
    return request.video is not None and REQUEST_FIELDS["denoise_strength"].is_for(request.task)


def step_slice(request: GenerationRequest, steps: int) -> range:
    """The steps that run, of `steps`. A source video leaves the first ones out (denoise_strength)."""
    wanted = steps
    if may_start_from_video(request):
        wanted = round(steps * request.denoise_strength)
        if wanted == 0:
            raise UserError(
                "denoise_strength leaves no step to make",
                value=request.denoise_strength,
                allowed=f"above {0.5 / steps:g}, with {steps} steps",
            )
    start = max(request.start_step, steps - wanted)
    end = request.end_step if request.end_step is not None else steps
    if not start < end <= steps:
        raise UserError(
            "start_step to end_step is not a slice of the schedule",
            value=[start, end],
            allowed=f"0 to {steps}",
            fix=f"denoise_strength begins at step {start}." if start > request.start_step else "",
        )
    return range(start, end)


def make_settings(
    request: GenerationRequest, asked: Mapping[str, Any], steps: range, tier: int, window_frames: int
) -> Settings:
    """`asked` as `with_defaults` gives it. Raises UserError for steps that the sampler does not have."""
    count = asked["num_inference_steps"]
    sampler, shift = find_sampler(asked["sampler"]), asked.get("flow_shift", FLOW_SHIFT[request.task][tier])
    sampler.schedule(count, shift)  # refuses a number of steps it does not have
    return Settings(
        sampler=sampler.name,
        num_inference_steps=count,
        steps=steps,
        guidance_scale=_per_step(asked["guidance_scale"], count),
        audio_guidance_scale=asked.get("audio_guidance_scale", 1.0),
        flow_shift=shift,
        fps=float(asked["fps"]),
        motion_frames=asked.get("motion_frames", 0),
        negative_prompt=asked["negative_prompt"],
        riflex_freq_index=request.riflex_freq_index if window_frames > TRAINED_FRAMES else 0,
    )


def _per_step(scale: float | tuple[float, ...], steps: int) -> tuple[float, ...]:
    """One guidance value per step; a short list goes on with its last value."""
    scales = scale if isinstance(scale, tuple) else (scale,)
    return (scales + scales[-1:] * steps)[:steps]
