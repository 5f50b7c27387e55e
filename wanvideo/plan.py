"""Everything decided before a weight is read: request and facts in; a plan without "auto" and None out.

Pure arithmetic: no GPU, no files, no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checks import check_request
from wanvideo.decided_options import first_place
from wanvideo.downloads.catalog import MELBAND
from wanvideo.errors import UserError
from wanvideo.extent import Extent, decide_extent
from wanvideo.hardware import Hardware
from wanvideo.idle_fields import idle_fields
from wanvideo.inputs import InputFacts
from wanvideo.lora_plan import describe_loras, lora_notes
from wanvideo.memory.decide import decide_memory
from wanvideo.memory.kept import known_speed
from wanvideo.memory.rates import matmul_class
from wanvideo.memory.remarks import effective_memory
from wanvideo.memory.sizes import model_sizes
from wanvideo.memory.work import Job, job_kind, work_of
from wanvideo.memory_plan import Forecast, MemoryPlan
from wanvideo.proof.kept import MachineProofs
from wanvideo.request import REQUEST_FIELDS, TALK, GenerationRequest, RuntimeOptions
from wanvideo.settings import Settings, make_settings, may_start_from_video, step_slice, with_defaults
from wanvideo.torch_switches import TorchSwitches
from wanvideo.ways import Ways, decide_ways, requantized_bytes
from wanvideo.windows import Window


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
    memory: MemoryPlan
    forecast: Forecast
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

    @property
    def kind(self) -> str:
        """What jobs that go alike have in common, for measurements of one to tell of another."""
        return job_kind(self.task, self.models, self.quantization, self.attention)

    def effective(self) -> dict[str, Any]:
        """What really ran, for the metadata, the result card and `--json`."""
        return {**self.shaping(), **effective_memory(self.memory, self.forecast)}

    def shaping(self) -> dict[str, Any]:
        """The part of it that shapes the frames. Where weights wait does not: a job that goes on after a
        break, when less memory is free, takes up its windows.
        """
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
    """Decide everything. `request.seed` must be set; `proofs` tells how trials went on this machine, and
    `MachineKnowledge` how fast it is, too. Raises UserError for what can't be done.
    """
    check_request(request, options, facts)
    asked = with_defaults(request, models.profile.defaults)
    steps = step_slice(request, asked["num_inference_steps"])
    extent = decide_extent(request, asked, facts, models, steps)
    settings = make_settings(request, asked, steps, extent.tier, extent.window_frames)
    place = first_place(request, options, len(settings.steps), extent.window_size)
    ways = decide_ways(options, models, machine, proofs, place)
    job = _job(request, options, settings, models, extent, ways)
    kept_bytes = requantized_bytes(options, models, ways.mode.mode)
    memory = decide_memory(job, options, machine, known_speed(proofs), kept_bytes)
    return GenerationPlan(
        request=request,
        options=options,
        models=models,
        settings=settings,
        width=extent.width,
        height=extent.height,
        total_frames=extent.total_frames,
        windows=extent.windows,
        prompts=extent.prompts,
        seed=request.seed,
        device=machine.device,
        dtype=ways.decided.dtype,
        switches=ways.decided.switches,
        attention=ways.backend.name,
        quantization=ways.mode.mode.name,
        own_cores=ways.mode.own_cores,
        fuse_qkv_projections=ways.decided.fuse_qkv_projections,
        memory=memory.memory,
        forecast=memory.forecast,
        output=output,
        notes=(
            *_about_request(request, options, settings, models, extent),
            *ways.notes,
            *lora_notes(request, models, settings, ways.mode.mode),
            *memory.notes,
        ),
    )


def _job(
    request: GenerationRequest,
    options: RuntimeOptions,
    settings: Settings,
    models: ModelSet,
    extent: Extent,
    ways: Ways,
) -> Job:
    mode, size = ways.mode, (extent.height, extent.width)
    return Job(
        work=work_of(request, settings, models, size, extent.windows, len(set(extent.prompts))),
        sizes=model_sizes(models, mode.mode, mode.own_cores, ways.decided.dtype),
        backend=ways.backend,
        per_block_mean=options.per_block_mean,
        matmul=matmul_class(mode.mode, mode.own_cores),
        kind=job_kind(request.task, models, mode.mode.name, ways.backend.name),
    )


def _about_request(
    request: GenerationRequest,
    options: RuntimeOptions,
    settings: Settings,
    models: ModelSet,
    extent: Extent,
) -> Iterator[str]:
    yield from (sentence.rstrip(".") for sentence in models.passed_over)
    yield from idle_fields(request, settings, len(extent.windows))
    yield from _separator_missing(request, options, models)


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
