"""Everything decided before a weight is read: request and facts in; a plan without "auto" and None out.

Pure arithmetic: no GPU, no files, no torch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checks import check_request, doubtful_speakers
from wanvideo.compile_choice import CompileChoice, decide_compile
from wanvideo.decided_options import first_place
from wanvideo.downloads.catalog import MELBAND
from wanvideo.errors import UserError
from wanvideo.extent import Extent, decide_extent, find_source, notes_of_old
from wanvideo.hardware import Hardware
from wanvideo.idle_fields import idle_fields
from wanvideo.inputs import InputFacts
from wanvideo.lora_plan import describe_loras, lora_notes
from wanvideo.media.old_video import OldVideo
from wanvideo.memory.decide import DecidedMemory
from wanvideo.memory.rates import matmul_class
from wanvideo.memory.remarks import effective_memory
from wanvideo.memory.sizes import model_sizes
from wanvideo.memory.work import Job, compiled_kind, job_kind, work_of
from wanvideo.memory_plan import Forecast, MemoryPlan
from wanvideo.proof.kept import MachineProofs
from wanvideo.request import REQUEST_FIELDS, TALK, GenerationRequest, RuntimeOptions
from wanvideo.settings import Settings, make_settings, may_start_from_video, step_slice, with_defaults
from wanvideo.step_cache.decide import DecidedStepCache, decide_step_cache
from wanvideo.step_cache.row import StepCachePlan
from wanvideo.torch_switches import TorchSwitches
from wanvideo.ways import Ways, decide_ways, requantized_bytes
from wanvideo.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationPlan:
    """All that will be done. `notes` says in plain words what differs from what was asked, and why.
    `own_cores`: the tensor cores that the quantization mode knows as its own are used. `switches`: what
    PyTorch is told for the time of the job. `computed_passes`: known once a video is made with a step cache,
    (computed, all) forward passes of each window. `window_ways`: known once windows are made, attention and
    quantization of each. `old`: the video that this one goes on from; it comes first
    in the file, and neither `total_frames` nor `windows` count it.
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
    vae_dtype: str
    switches: TorchSwitches
    attention: str
    quantization: str
    own_cores: bool
    fuse_qkv_projections: bool
    memory: MemoryPlan
    forecast: Forecast
    output: Path
    notes: tuple[str, ...]
    step_cache: StepCachePlan = StepCachePlan()
    compile: CompileChoice = CompileChoice()
    computed_passes: tuple[tuple[int, int], ...] = ()
    window_ways: tuple[str, ...] = ()
    old: OldVideo | None = None

    @property
    def task(self) -> str:
        """The task of the request."""
        return self.request.task

    @property
    def speakers(self) -> int:
        """How many voices share the picture; silence has one."""
        return max(1, len(self.request.audio))

    @property
    def follows_video(self) -> bool:
        """Whether each window has a picture of its own, from the source video."""
        return self.request.task == TALK and self.request.video is not None

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
        computing = (self.quantization, self.attention, self.step_cache, self.vae_dtype)
        kind = job_kind(self.task, self.models, *computing)
        return compiled_kind(kind) if self.compile.blocks else kind

    def effective(self) -> dict[str, Any]:
        """What really ran, for the metadata, the result card and `--json`."""
        computed = [f"{part} of {whole}" for part, whole in self.computed_passes]
        passes = {"computed_passes": computed} if computed else {}
        memory = effective_memory(self.memory, self.forecast)
        return {**self.shaping(), **self._cut(), **passes, **self.compile.effective(), **memory}

    def _cut(self) -> dict[str, Any]:
        """How a video of several windows was cut into them, and what computed each if that changed midway."""
        if not REQUEST_FIELDS["window_frames"].is_for(self.task):
            return {}
        ways = list(self.window_ways) if len(set(self.window_ways)) > 1 else []
        cut = {"window_frames": self.windows[0].frames, "motion_frames": self.settings.motion_frames}
        return {**cut, "window_ways": ways} if ways else cut

    def shaping(self) -> dict[str, Any]:
        """The part of it that shapes the frames. Where weights wait does not: a job that goes on after a
        break, when less memory is free, takes up its windows. Nor does compiled code, within rounding.
        """
        settings, scales = self.settings, self.settings.guidance_scale
        return {
            "model": self.models.name,
            "quantization": self.quantization,
            "attention": self.attention,
            "dtype": self.dtype,
            "vae_precision": self.vae_dtype,
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
            **self.step_cache.effective(),
            "separate_vocals": self.separates_vocals,
            **({} if self.old is None else {"frames_before": self.old.facts.frames}),
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
    asked = with_defaults(request, models.profile.defaults, facts.old.facts.fps if facts.old else None)
    steps = step_slice(request, asked["num_inference_steps"])
    extent = decide_extent(request, asked, facts, models, steps)
    settings = make_settings(request, asked, steps, extent.tier, extent.window_frames)
    place = first_place(request, options, len(settings.steps), extent.window_size)
    ways = decide_ways(options, models, machine, proofs, place)
    cache = decide_step_cache(options, settings, models)
    job = _job(request, options, settings, models, extent, (ways, cache))
    kept_bytes = requantized_bytes(options, models, ways.mode.mode)
    compiled, memory = decide_compile(job, options, machine, ways.mode, proofs, kept_bytes)
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
        **_computing(ways, compiled, memory),
        output=output,
        notes=(
            *_about_request(request, options, settings, models, extent, facts),
            *ways.notes,
            *lora_notes(request, models, settings, ways.mode.mode),
            *cache.notes,
            *compiled.notes,
            *memory.notes,
        ),
        step_cache=cache.plan,
        old=facts.old,
    )


def _computing(ways: Ways, compiled: CompileChoice, memory: DecidedMemory) -> dict[str, Any]:
    """How the models compute, as fields of a plan."""
    return {
        "dtype": ways.decided.dtype,
        "vae_dtype": ways.decided.vae_dtype,
        "switches": ways.decided.switches,
        "attention": ways.backend.name,
        "quantization": ways.mode.mode.name,
        "own_cores": ways.mode.own_cores,
        "fuse_qkv_projections": ways.decided.fuse_qkv_projections,
        "compile": compiled,
        "memory": memory.memory,
        "forecast": memory.forecast,
    }


def _job(
    request: GenerationRequest,
    options: RuntimeOptions,
    settings: Settings,
    models: ModelSet,
    extent: Extent,
    run: tuple[Ways, DecidedStepCache],
) -> Job:
    """`run`: what computes a step, and what may leave one out."""
    (ways, cache), size = run, (extent.height, extent.width)
    mode, backend, vae_dtype = ways.mode, ways.backend, ways.decided.vae_dtype
    return Job(
        work=work_of(request, settings, models, size, extent.windows, len(set(extent.prompts))),
        sizes=model_sizes(models, mode.mode, mode.own_cores, ways.decided.dtype, vae_dtype),
        backend=backend,
        per_block_mean=options.per_block_mean,
        matmul=matmul_class(mode.mode, mode.own_cores),
        kind=job_kind(request.task, models, mode.mode.name, backend.name, cache.plan, vae_dtype),
        cache=cache.forecast,
        joined=ways.decided.fuse_qkv_projections,
    )


def _about_request(
    request: GenerationRequest,
    options: RuntimeOptions,
    settings: Settings,
    models: ModelSet,
    extent: Extent,
    facts: InputFacts,
) -> Iterator[str]:
    yield from notes_of_old(request, facts.old, extent)
    yield from (sentence.rstrip(".") for sentence in models.passed_over)
    yield from idle_fields(request, settings, len(extent.windows))
    source = find_source(request, facts, settings.steps)
    yield from doubtful_speakers(request, source, (extent.height, extent.width))
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
