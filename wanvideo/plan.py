"""Everything decided before a weight is read: request and facts in; a plan without "auto" and None out.

Pure arithmetic: no GPU, no files, no torch.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from wanvideo.cache_folder import REQUANTIZED, cache_folder
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checks import check_made, check_request
from wanvideo.decided_options import decide_options, first_place
from wanvideo.defaults import NATIVE_SIZES, SPEECH_FPS
from wanvideo.downloads.catalog import MELBAND
from wanvideo.effective_mode import EffectiveMode, WantedMode, effective_mode, makes_denser
from wanvideo.errors import UserError
from wanvideo.fallback import choose
from wanvideo.geometry import area_size, bucket_size, nearest_frames, quality_tier
from wanvideo.hardware import Hardware
from wanvideo.idle_fields import idle_fields
from wanvideo.inputs import InputFacts
from wanvideo.lora_plan import describe_loras, lora_notes
from wanvideo.media.probe import PictureFacts, VideoFacts
from wanvideo.model_cache import WEIGHTS_SHARE
from wanvideo.proof.kept import MachineProofs
from wanvideo.registry import AttentionBackend, attention_backends, quantization_modes
from wanvideo.request import AS_STORED, REQUEST_FIELDS, TALK, GenerationRequest, RuntimeOptions
from wanvideo.settings import Settings, make_settings, may_start_from_video, step_slice, with_defaults
from wanvideo.torch_switches import TorchSwitches
from wanvideo.windows import Window, plan_windows

DENSE_BYTES = 2  # of a weight in bf16 or fp16


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """All that will be done. `notes` says in plain words what differs from what was asked, and why.
    `own_cores`: the tensor cores that the quantization mode knows as its own are used. `switches`: what
    PyTorch is told for the time of the job.
    """

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
    switches: TorchSwitches
    attention: str
    quantization: str
    own_cores: bool
    fuse_qkv_projections: bool
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
    def separates_vocals(self) -> bool:
        """Whether the model hears the voices alone; the file keeps the whole sound."""
        return self.uses_speech and self.models.vocal_separator is not None

    @property
    def starts_from_video(self) -> bool:
        """Whether the first steps are left out and the source video stands in for them."""
        return may_start_from_video(self.request) and self.settings.steps.start > 0

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
            "fp16_accumulation": self.switches.fp16_accumulation,
            "use_tf32": self.switches.tf32,
            "use_cublas_gemm": self.switches.cublaslt,
            "fuse_qkv_projections": self.fuse_qkv_projections,
            "rms_norm_function": self.options.rms_norm_function,
            "force_contiguous_tensors": self.options.force_contiguous_tensors,
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
            "separate_vocals": self.separates_vocals,
            "loras": [list(lora) for lora in describe_loras(self.models)],
            "seed": self.seed,
        }


def make_plan(
    request: GenerationRequest,
    options: RuntimeOptions,
    facts: InputFacts,
    models: ModelSet,
    machine: Hardware,
    output: Path,
    proofs: MachineProofs | None = None,
) -> GenerationPlan:
    """Decide everything. `request.seed` must be set; `proofs` tells how trials went on this machine. Raises
    UserError for what can't be done.
    """
    notes: list[str] = []
    check_request(request, options, facts)
    asked = with_defaults(request, models.profile.defaults)
    steps = step_slice(request, asked["num_inference_steps"])
    total_frames, windows = _length(request, asked, facts)
    source = _source(request, facts, steps)
    height, width = _size(request, source, models)
    check_made(request, source, height, width, total_frames)
    settings = make_settings(request, asked, steps, quality_tier(height, width), windows[0].frames)
    notes += [sentence.rstrip(".") for sentence in models.passed_over]
    notes += idle_fields(request, settings, len(windows))
    backend = _attention(options, machine, proofs, notes)
    mode = _quantization(options, models, machine, proofs)
    place = first_place(request, options, len(settings.steps), (windows[0].frames, height, width))
    decided = decide_options(options, machine, backend, mode, models.transformer.stored, place)
    notes += _separator_missing(request, options, models)
    notes += lora_notes(request, models, settings, mode.mode)
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
        dtype=decided.dtype,
        switches=decided.switches,
        attention=backend.name,
        quantization=mode.mode.name,
        own_cores=mode.own_cores,
        fuse_qkv_projections=decided.fuse_qkv_projections,
        output=output,
        notes=(*notes, *mode.notes, *decided.notes),
    )


def _attention(
    options: RuntimeOptions, machine: Hardware, proofs: MachineProofs | None, notes: list[str]
) -> AttentionBackend:
    table, known = attention_backends(), proofs.attention if proofs else None
    return choose(table, options.attention, "attention", machine, options.strict, notes, known)


def _source(request: GenerationRequest, facts: InputFacts, steps: range) -> PictureFacts | VideoFacts | None:
    """The picture or video that the result shows; None for a task, or steps, that look at neither."""
    if facts.picture is not None and REQUEST_FIELDS["image"].is_for(request.task):
        return facts.picture
    return facts.video if request.task == TALK or steps.start > 0 else None


def _size(
    request: GenerationRequest, source: PictureFacts | VideoFacts | None, models: ModelSet
) -> tuple[int, int]:
    """(height, width): as asked, else from the source's aspect and the model's native size."""
    if request.width is not None and request.height is not None:
        return request.height, request.width
    native_height, native_width = NATIVE_SIZES[models.profile.tier]
    ratio = source.height / source.width if source else native_height / native_width
    if models.profile.area is not None:
        return area_size(ratio if source else 1.0, models.profile.area)
    if request.task == TALK:
        return bucket_size(ratio, models.profile.tier)
    return area_size(ratio, native_height * native_width)


def _length(
    request: GenerationRequest, asked: Mapping[str, Any], facts: InputFacts
) -> tuple[int, tuple[Window, ...]]:
    fps = float(asked["fps"])
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


def _separator_missing(
    request: GenerationRequest, options: RuntimeOptions, models: ModelSet
) -> Iterator[str]:
    """What is said when the vocals can't be separated. Raises UserError for that if the options are
    strict.
    """
    has_speech = request.audio and REQUEST_FIELDS["separate_vocals"].is_for(request.task)
    if not request.separate_vocals or not has_speech or models.vocal_separator is not None:
        return
    what = f"the vocals can't be separated without {PurePosixPath(MELBAND.path).name}"
    fix = f"models download {MELBAND.name}"
    if options.strict:
        raise UserError(what, value="not installed", fix=f"Load it with `{fix}`.")
    yield f"{what}: the model hears the whole sound; `{fix}` loads the file"


def _prompts(prompt: str, windows: int) -> tuple[str, ...]:
    """One prompt per window from parts split at |; the last part goes on."""
    parts = [part.strip() for part in prompt.split("|")]
    return tuple((parts + parts[-1:] * windows)[:windows])


def wanted_mode(options: RuntimeOptions, models: ModelSet, machine: Hardware) -> WantedMode:
    """What was asked of the quantization, and whether the models need any on this machine."""
    dense = sum(part.num_parameters for part in _quantized_parts(models)) * DENSE_BYTES
    card = machine.gpus[0].total_bytes if machine.gpus else 0
    return WantedMode(
        name=options.quantization,
        strict=options.strict,
        as_stored=options.requantize == AS_STORED,
        fits_dense=dense <= card * WEIGHTS_SHARE,
    )


def _quantized_parts(models: ModelSet) -> list[CheckpointFacts]:
    return [part for part in (models.transformer, models.audio) if part is not None]


def _quantization(
    options: RuntimeOptions, models: ModelSet, machine: Hardware, proofs: MachineProofs | None
) -> EffectiveMode:
    """The mode that runs, with the size of what is kept of it on disk among its notes."""
    table, wanted = quantization_modes(), wanted_mode(options, models, machine)
    known = proofs.quantization if proofs else None
    found = effective_mode(table, wanted, machine, models.transformer.stored, known)
    denser = [part for part in _quantized_parts(models) if makes_denser(table, found.mode, part.stored)]
    if not denser or wanted.as_stored:
        return found
    size = sum(part.bytes_in(found.mode) for part in denser) / 1e9
    note = f"the 4-bit weights are kept for the next time: {size:.1f} GB in {cache_folder(REQUANTIZED)}"
    return replace(found, notes=(*found.notes, note))
