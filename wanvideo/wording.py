"""A plan and a machine in plain words, for the command line and the page."""

from collections.abc import Iterator
from typing import Any

from wanvideo.hardware import Hardware
from wanvideo.lora_plan import describe_loras
from wanvideo.memory.rates import Rates
from wanvideo.memory.remarks import gigabytes
from wanvideo.memory_plan import Forecast
from wanvideo.plan import GenerationPlan

TOLD_SECONDS = 1.0  # of compiling; less is not worth a line


def describe_plan(plan: GenerationPlan) -> Iterator[tuple[str, str]]:
    """(subject, sentence) pairs: everything that was decided but the notes."""
    settings, frames = plan.settings, plan.total_frames
    guidance = ", ".join(f"{scale:g}" for scale in dict.fromkeys(settings.guidance_scale))
    yield "task", plan.task
    yield "model", f"{plan.models.profile.label} ({plan.models.name})"
    for file in model_files(plan):
        yield f"  {file['component']}", f"{file['path']} ({file['bytes'] / 1e6:,.1f} MB)"
    yield "size", f"{plan.width} x {plan.height} pixels"
    yield "length", f"{frames} frames at {settings.fps:g} a second, {frames / settings.fps:.2f} seconds"
    if plan.old is not None:
        before = plan.old.facts.seconds
        whole = f"in all {before + frames / settings.fps:.1f} s"
        yield "goes on from", f"{plan.old.path.name} ({before:.1f} s); {whole}"
    yield "windows", f"{len(plan.windows)} of {plan.windows[0].frames} frames"
    yield "sampler", f"{settings.sampler}, {len(settings.steps)} steps, flow shift {settings.flow_shift:g}"
    yield "guidance", f"{guidance}; audio guidance {settings.audio_guidance_scale:g}"
    yield "passes", f"{plan.passes_per_step} through the transformer a step"
    yield "seed", str(plan.seed)
    vae = "" if plan.vae_dtype == plan.dtype else f", the VAE in {plan.vae_dtype}"
    yield "runs on", f"{plan.device} in {plan.dtype}{vae}"
    yield "attention", plan.attention
    yield "quantization", plan.quantization
    for name, strength in describe_loras(plan.models):
        yield f"LoRA {name}", f"at strength {strength}"
    if plan.step_cache.is_on:
        yield "step cache", f"{plan.step_cache.name} at threshold {plan.step_cache.threshold:g}"
    if plan.compile.blocks:
        yield "blocks", f"compiled, {plan.compile.reason}"
    yield "memory", ", ".join(_memory(plan))
    yield "time", _time(plan.forecast)
    if plan.forecast.compile_seconds >= TOLD_SECONDS:
        yield "compiling", f"about {duration(plan.forecast.compile_seconds)} more, where it was not done yet"
    yield "output", str(plan.output)


def _memory(plan: GenerationPlan) -> Iterator[str]:
    memory, forecast = plan.memory, plan.forecast
    blocks, main = plan.models.transformer.num_layers, gigabytes(forecast.host_bytes)
    yield plan.quantization
    if memory.transformer.blocks:
        yield f"{memory.transformer.blocks} of {blocks} blocks swapped"
    if memory.chunk_tokens:
        yield f"{memory.chunk_tokens} tokens at a time"
    if memory.text_encoder.blocks:
        yield "text encoder swapped"
    if memory.decode_tile:
        yield "tiled VAE"
    if memory.steps_aside:
        yield "the model leaves the card for the VAE"
    if forecast.total_bytes:
        total = forecast.total_bytes / 2**30
        yield f"{forecast.device_bytes / 2**30:.1f} of {total:.0f} GB expected"
    yield f"{main} of main memory"


def _time(forecast: Forecast) -> str:
    if forecast.calibrated:
        return f"about {duration(forecast.seconds)}"
    return f"about {duration(forecast.seconds)}, uncalibrated: a guess until calibrate or a job has run"


def duration(seconds: float) -> str:
    """In words, as exact as a forecast is."""
    for unit, size, least in (("hours", 3600, 5400), ("minutes", 60, 120)):
        if seconds >= least:
            return f"{seconds / size:.1f} {unit}" if unit == "hours" else f"{seconds / size:.0f} {unit}"
    whole = max(1, round(seconds))
    return f"{whole} seconds" if whole > 1 else "1 second"


def model_files(plan: GenerationPlan) -> list[dict[str, Any]]:
    """component, path and bytes of every model the plan uses."""
    return [
        {"component": facts.component, "path": str(facts.path), "bytes": facts.bytes}
        for facts in plan.models.checkpoints
    ]


def describe_machine(machine: Hardware) -> Iterator[str]:
    """One line for the computer, one for each card."""
    memory = machine.ram_bytes / 2**30
    yield f"{machine.system}, {machine.cpu}, {machine.cores} cores, {memory:.0f} GiB of memory"
    for gpu in machine.gpus:
        major, minor = gpu.compute_capability
        yield f"{gpu.name}, sm {major}.{minor}, {gpu.total_bytes / 2**30:.0f} GiB, driver {gpu.driver}"
    if not machine.gpus:
        yield "no NVIDIA card: everything runs on the CPU"


def describe_rates(rates: Rates) -> Iterator[str]:
    """What `calibrate` found."""
    for name, tflops in rates.matmul.items():
        yield f"linears, {name}: {tflops:.3g} TFLOP/s"
    for name, tflops in rates.attention.items():
        yield f"attention, {name or 'exact'}: {tflops:.3g} TFLOP/s"
    yield f"the VAE's convolutions: {rates.convolution:.3g} TFLOP/s"
    yield f"memory: {rates.memory:.0f} GB/s"
    yield f"copies to the card: {rates.pinned:.0f} GB/s, {rates.pageable:.0f} from pageable memory"
