"""Everything decided before a weight is read: request and facts in; a plan without "auto" and None out.

Pure arithmetic: no GPU, no files, no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checks import check_request
from wanvideo.defaults import FLOW_SHIFT, SPEECH_FPS, TASK_DEFAULTS
from wanvideo.errors import UserError
from wanvideo.fallback import choose
from wanvideo.geometry import area_size, bucket_size, nearest_frames, quality_tier
from wanvideo.hardware import Hardware
from wanvideo.inputs import InputFacts
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import REQUEST_FIELDS, TALK, GenerationRequest, RuntimeOptions
from wanvideo.sampling.samplers import find_sampler
from wanvideo.windows import Window, plan_windows

BF16_CAPABILITY = (8, 0)  # cards before Ampere multiply bf16 very slowly


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The request's numbers after defaults: model profile before task, a set field before both."""

    sampler: str
    num_inference_steps: int
    steps: range
    guidance_scale: tuple[float, ...]
    audio_guidance_scale: float
    flow_shift: float
    fps: float
    motion_frames: int
    negative_prompt: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """All that will be done. `notes` says in plain words what differs from what was asked, and why."""

    request: GenerationRequest
    options: RuntimeOptions
    models: ModelSet
    settings: Settings
    width: int
    height: int
    total_frames: int
    windows: tuple[Window, ...]
    prompts: tuple[str, ...]
    seed: int
    device: str
    dtype: str
    attention: str
    quantization: str
    output: Path
    notes: tuple[str, ...]

    @property
    def task(self) -> str:
        """The task of the request."""
        return self.request.task

    @property
    def speakers(self) -> int:
        """How many voices share the picture; silence has one."""
        return max(1, len(self.request.audio))

    @property
    def uses_speech(self) -> bool:
        """Whether the file gets a sound: talk with speech, not silence."""
        return self.request.task == TALK and bool(self.request.audio)

    @property
    def passes_per_step(self) -> int:
        """Forward passes of the transformer in the first step."""
        has_audio_guidance = self.request.task == TALK and self.settings.audio_guidance_scale != 1
        return 1 + (self.settings.guidance_scale[0] != 1) + has_audio_guidance

    def effective(self) -> dict[str, Any]:
        """What really ran, for the metadata, the result card and `--json`."""
        settings, scales = self.settings, self.settings.guidance_scale
        return {
            "model": self.models.name,
            "quantization": self.quantization,
            "attention": self.attention,
            "dtype": self.dtype,
            "device": self.device,
            "size": [self.width, self.height],
            "frames": self.total_frames,
            "fps": settings.fps,
            "windows": len(self.windows),
            "sampler": settings.sampler,
            "num_inference_steps": settings.num_inference_steps,
            "guidance_scale": scales[0] if len(set(scales)) == 1 else scales,
            "audio_guidance_scale": settings.audio_guidance_scale,
            "flow_shift": settings.flow_shift,
            "passes_per_step": self.passes_per_step,
            "seed": self.seed,
        }


def make_plan(
    request: GenerationRequest,
    options: RuntimeOptions,
    facts: InputFacts,
    models: ModelSet,
    machine: Hardware,
    output: Path,
) -> GenerationPlan:
    """Decide everything. `request.seed` must be set. Raises UserError for what can't be done."""
    notes: list[str] = []
    check_request(request, options, facts)
    asked = _with_defaults(request, models)
    fps = float(asked["fps"])
    height, width = _size(request, facts, models)
    total_frames, windows = _length(request, asked, facts, fps)
    settings = _settings(request, asked, quality_tier(height, width), fps)
    notes += _idle_fields(request, settings)
    backend = choose(attention_backends(), options.attention, "attention", machine, options.strict, notes)
    mode = choose(quantization_modes(), options.quantization, "quantization", machine, options.strict, notes)
    return GenerationPlan(
        request=request,
        options=options,
        models=models,
        settings=settings,
        width=width,
        height=height,
        total_frames=total_frames,
        windows=windows,
        prompts=_prompts(request.prompt, len(windows)),
        seed=request.seed,
        device=machine.device,
        dtype=_precision(options.base_precision, machine),
        attention=backend.name,
        quantization=mode.name,
        output=output,
        notes=tuple(notes),
    )


def _with_defaults(request: GenerationRequest, models: ModelSet) -> Mapping[str, Any]:
    """Field -> value for every field with a default of its own; what the request sets wins."""
    values = {**TASK_DEFAULTS[request.task], **models.profile.defaults.get(request.task, {})}
    for name in (*values, "flow_shift"):
        if getattr(request, name) is not None:
            values[name] = getattr(request, name)
    return values


def _size(request: GenerationRequest, facts: InputFacts, models: ModelSet) -> tuple[int, int]:
    """(height, width): as asked, else from the picture's aspect and the model's native size."""
    if request.width is not None and request.height is not None:
        return request.height, request.width
    source = facts.picture or facts.video
    ratio = source.height / source.width if source else 480 / 832
    if models.profile.area is not None:
        return area_size(ratio if source else 1.0, models.profile.area)
    return bucket_size(ratio, 480) if request.task == TALK else area_size(ratio, 480 * 832)


def _length(
    request: GenerationRequest, asked: Mapping[str, Any], facts: InputFacts, fps: float
) -> tuple[int, tuple[Window, ...]]:
    if request.task != TALK:
        frames = nearest_frames(request.seconds, fps) if request.seconds is not None else asked["num_frames"]
        return frames, plan_windows(frames, frames, 0)
    window_frames, motion_frames = asked["window_frames"], asked["motion_frames"]
    if motion_frames >= window_frames:
        raise UserError(
            "motion_frames must be fewer than window_frames",
            value=motion_frames,
            allowed=f"1 to {window_frames - 4}",
        )
    total = request.num_frames or _speech_frames(request, facts) or window_frames
    if request.seconds is not None:
        total = max(1, round(request.seconds * fps))
    return total, plan_windows(total, window_frames, motion_frames)


def _speech_frames(request: GenerationRequest, facts: InputFacts) -> int:
    """Length of the speech in frames; 0 for silence."""
    lengths = [sound.seconds for sound in facts.sounds]
    if not lengths:
        return 0
    seconds = sum(lengths) if request.audio_order == "sequence" else max(lengths)
    return max(1, int(seconds * SPEECH_FPS))


def _settings(request: GenerationRequest, asked: Mapping[str, Any], tier: int, fps: float) -> Settings:
    steps = asked["num_inference_steps"]
    end = request.end_step if request.end_step is not None else steps
    start = max(
        request.start_step,
        steps - round(steps * request.denoise_strength) if _starts_from_video(request) else 0,
    )
    if not start < end <= steps:
        raise UserError(
            "start_step to end_step is not a slice of the schedule",
            value=[start, end],
            allowed=f"0 to {steps}",
        )
    sampler, shift = find_sampler(asked["sampler"]), asked.get("flow_shift", FLOW_SHIFT[request.task][tier])
    sampler.schedule(steps, shift)  # refuses a number of steps it does not have
    return Settings(
        sampler=sampler.name,
        num_inference_steps=steps,
        steps=range(start, end),
        guidance_scale=_per_step(asked["guidance_scale"], steps),
        audio_guidance_scale=asked.get("audio_guidance_scale", 1.0),
        flow_shift=shift,
        fps=fps,
        motion_frames=asked.get("motion_frames", 0),
        negative_prompt=asked["negative_prompt"],
    )


def _per_step(scale: float | tuple[float, ...], steps: int) -> tuple[float, ...]:
    """One guidance value per step; a short list goes on with its last value."""
    scales = scale if isinstance(scale, tuple) else (scale,)
    return (scales + scales[-1:] * steps)[:steps]


def _starts_from_video(request: GenerationRequest) -> bool:
    return request.video is not None and request.task != TALK


def _idle_fields(request: GenerationRequest, settings: Settings) -> list[str]:
    """A sentence for each field that was set but can have no effect."""
    notes = [
        f"{name} has no effect in {request.task}"
        for name, row in REQUEST_FIELDS.items()
        if row.tasks and request.task not in row.tasks and getattr(request, name) != row.default
    ]
    if request.negative_prompt and set(settings.guidance_scale) == {1.0}:
        notes.append("negative_prompt has no effect at guidance 1")
    if request.task != TALK and request.denoise_strength < 1 and not request.video:
        notes.append("denoise_strength has no effect without a source video")
    if _starts_from_video(request) and request.denoise_strength == 1:
        notes.append("video has no effect at denoise_strength 1")
    if request.task == TALK and len(request.audio) < 2:
        alone = {"speaker_boxes": request.speaker_boxes, "audio_order": request.audio_order == "sequence"}
        notes += [f"{name} has no effect with one speaker" for name, is_set in alone.items() if is_set]
    return notes


def _prompts(prompt: str, windows: int) -> tuple[str, ...]:
    """One prompt per window from parts split at |; the last part goes on."""
    parts = [part.strip() for part in prompt.split("|")]
    return tuple((parts + parts[-1:] * windows)[:windows])


def _precision(asked: str, machine: Hardware) -> str:
    if asked != "auto":
        return "bf16" if asked == "bf16_fast" else asked
    if machine.device == "cpu":
        return "fp32"
    return "bf16" if machine.gpus[0].compute_capability >= BF16_CAPABILITY else "fp16"
