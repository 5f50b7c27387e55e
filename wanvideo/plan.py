"""Everything decided before a weight is read: request, options and facts in; a plan without "auto" and without None out.

Pure arithmetic: no GPU, no files, no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.defaults import FLOW_SHIFT, TASK_DEFAULTS
from wanvideo.errors import UserError
from wanvideo.geometry import area_size, bucket_size, check_frames, check_size, nearest_frames, quality_tier
from wanvideo.hardware import Hardware
from wanvideo.inputs import InputFacts
from wanvideo.registry import AttentionBackend, QuantizationMode, attention_backends, quantization_modes, resolve
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO, GenerationRequest, RuntimeOptions
from wanvideo.sampling.samplers import find_sampler
from wanvideo.windows import Window, plan_windows

SPEECH_FPS = 25.0


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
        settings = self.settings
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
            "guidance_scale": settings.guidance_scale[0] if len(set(settings.guidance_scale)) == 1 else settings.guidance_scale,
            "audio_guidance_scale": settings.audio_guidance_scale,
            "flow_shift": settings.flow_shift,
            "passes_per_step": self.passes_per_step,
            "seed": self.seed,
        }


def make_plan(
    request: GenerationRequest, options: RuntimeOptions, facts: InputFacts, models: ModelSet, machine: Hardware, output: Path
) -> GenerationPlan:
    """Decide everything. `request.seed` must be set. Raises UserError for what can't be done."""
    notes: list[str] = []
    _check_inputs(request, facts)
    asked = _with_defaults(request, models)
    fps = _frame_rate(request, asked)
    height, width = _size(request, asked, facts, models)
    total_frames, windows = _length(request, asked, facts, fps)
    settings = _settings(request, asked, quality_tier(height, width), fps, notes)
    notes += _idle_fields(request, settings)
    backend = _usable(attention_backends(), options.attention, "attention", machine, options.strict, notes)
    mode = _usable(quantization_modes(), options.quantization, "quantization", machine, options.strict, notes)
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


def _check_inputs(request: GenerationRequest, facts: InputFacts) -> None:
    if request.task == TALK and not (facts.picture or facts.video):
        raise UserError("talk needs a picture", fix="Give --image FILE, or --video FILE for a video to speak.")
    if request.task == IMAGE_TO_VIDEO and not facts.picture:
        raise UserError("image_to_video needs a picture", fix="Give --image FILE.")
    if request.task == TALK and facts.picture and facts.video:
        raise UserError("talk takes a picture or a video, not both", fix="Leave one of them out.")
    if len(request.speaker_boxes) not in (0, 2):
        raise UserError("speaker_boxes needs one box per speaker", value=len(request.speaker_boxes), allowed="0 or 2 boxes")
    source = facts.picture or facts.video
    for x0, y0, x1, y1 in request.speaker_boxes:
        if source and not (0 <= x0 < x1 <= source.width and 0 <= y0 < y1 <= source.height):
            raise UserError(
                "a speaker box lies outside the picture", value=[x0, y0, x1, y1], allowed=f"0, 0 to {source.width}, {source.height}"
            )


def _frame_rate(request: GenerationRequest, asked: Mapping[str, Any]) -> float:
    if request.task == TALK and request.audio and asked["fps"] != SPEECH_FPS:
        raise UserError(
            "fps must be 25 with speech", value=asked["fps"], fix="The model hears 25 speech frames a second; leave fps out."
        )
    return float(asked["fps"])


def _size(
    request: GenerationRequest, asked: Mapping[str, Any], facts: InputFacts, models: ModelSet
) -> tuple[int, int]:
    """(height, width): as asked, else from the picture's aspect and the model's native size."""
    if (request.width is None) != (request.height is None):
        raise UserError("width and height go together", fix="Give both or neither.")
    if request.width is not None and request.height is not None:
        return check_size("height", request.height), check_size("width", request.width)
    source = facts.picture or facts.video
    ratio = source.height / source.width if source else asked.get("ratio", 480 / 832)
    if models.profile.area is not None:
        return area_size(ratio if source else 1.0, models.profile.area)
    return bucket_size(ratio, 480) if request.task == TALK else area_size(ratio, 480 * 832)


def _length(
    request: GenerationRequest, asked: Mapping[str, Any], facts: InputFacts, fps: float
) -> tuple[int, tuple[Window, ...]]:
    if request.num_frames is not None and request.seconds is not None:
        raise UserError("give num_frames or seconds, not both", value=request.num_frames)
    if request.task != TALK:
        frames = check_frames("num_frames", asked["num_frames"])
        if request.seconds is not None:
            frames = nearest_frames(request.seconds, fps)
        return frames, plan_windows(frames, frames, 0)
    window_frames = check_frames("window_frames", asked["window_frames"])
    motion_frames = check_frames("motion_frames", asked["motion_frames"])
    if motion_frames >= window_frames:
        raise UserError("motion_frames must be fewer than window_frames", value=motion_frames, allowed=f"1 to {window_frames - 4}")
    total = request.num_frames or (round(request.seconds * fps) if request.seconds else _speech_frames(request, facts))
    return total or window_frames, plan_windows(total or window_frames, window_frames, motion_frames)


def _speech_frames(request: GenerationRequest, facts: InputFacts) -> int:
    """Length of the speech in frames; 0 for silence."""
    lengths = [sound.seconds for sound in facts.sounds]
    if not lengths:
        return 0
    seconds = sum(lengths) if request.audio_order == "sequence" else max(lengths)
    return max(1, int(seconds * SPEECH_FPS))


def _settings(
    request: GenerationRequest, asked: Mapping[str, Any], tier: int, fps: float, notes: list[str]
) -> Settings:
    steps = asked["num_inference_steps"]
    end = request.end_step if request.end_step is not None else steps
    start = max(request.start_step, steps - round(steps * request.denoise_strength) if request.video else 0)
    if not start < end <= steps:
        raise UserError("start_step to end_step is not a slice of the schedule", value=[start, end], allowed=f"0 to {steps}")
    return Settings(
        sampler=find_sampler(asked["sampler"]).name,
        num_inference_steps=steps,
        steps=range(start, end),
        guidance_scale=_per_step(asked["guidance_scale"], steps),
        audio_guidance_scale=asked.get("audio_guidance_scale", 1.0),
        flow_shift=asked.get("flow_shift", FLOW_SHIFT[request.task][tier]),
        fps=fps,
        motion_frames=asked.get("motion_frames", 0),
        negative_prompt=asked["negative_prompt"],
    )


def _per_step(scale: float | tuple[float, ...], steps: int) -> tuple[float, ...]:
    """One guidance value per step; a short list goes on with its last value."""
    scales = scale if isinstance(scale, tuple) else (scale,)
    return (scales + scales[-1:] * steps)[:steps]


def _idle_fields(request: GenerationRequest, settings: Settings) -> list[str]:
    """A sentence for each field that was set but can have no effect."""
    notes = []
    if request.negative_prompt and set(settings.guidance_scale) == {1.0}:
        notes.append("negative_prompt has no effect at guidance 1")
    if request.denoise_strength < 1 and not request.video:
        notes.append("denoise_strength has no effect without a source video")
    if request.task == TEXT_TO_VIDEO and request.image:
        notes.append("text_to_video does not use the picture; choose image_to_video to make it move")
    if request.task != TALK and request.audio:
        notes.append(f"{request.task} does not use the sound; choose talk")
    if request.speaker_boxes and len(request.audio) < 2:
        notes.append("speaker_boxes have no effect with one speaker")
    return notes


def _prompts(prompt: str, windows: int) -> tuple[str, ...]:
    """One prompt per window from parts split at |; the last part goes on."""
    parts = [part.strip() for part in prompt.split("|")]
    return tuple((parts + parts[-1:] * windows)[:windows])


def _usable(
    table: "Mapping[str, AttentionBackend] | Mapping[str, QuantizationMode]",
    name: str,
    what: str,
    machine: Hardware,
    strict: bool,
    notes: list[str],
) -> "AttentionBackend | QuantizationMode":
    """The row that will run: the asked one, else down its fallbacks with a note each; "auto" takes the first that can."""
    rows: dict[str, Any] = dict(table)
    if name == "auto":
        usable: AttentionBackend | QuantizationMode = next(
            row for row in rows.values() if row.unavailable_reason(machine) is None
        )
        return usable
    row = resolve(rows, name, what)
    while (reason := row.unavailable_reason(machine)) is not None:
        if strict or row.fallback is None:
            raise UserError(f"{what} {row.name} can't run here: {reason}", fix=f"Choose auto, or leave {what} out.")
        notes.append(f"{row.name}: {reason}; {row.fallback} runs instead")
        row = rows[row.fallback]
    return row


def _precision(asked: str, machine: Hardware) -> str:
    if asked == "auto":
        return "bf16" if machine.gpus else "fp32"
    return "bf16" if asked == "bf16_fast" else asked
