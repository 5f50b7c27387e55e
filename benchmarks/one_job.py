"""One whole job, as a person would run it, on a card of a claimed size: python -m benchmarks.one_job.

The job is read from standard input as JSON; the row of figures is the last line of standard output.
"""

import json
import logging
import sys
import time
import traceback
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.measuring import GIB, HostPeak, device, peak_gib, wait
from benchmarks.report import REASON, Row, short_reason
from wanvideo.hardware import Hardware, probe_hardware
from wanvideo.media.frames import read_frames
from wanvideo.model_cache import open_cache
from wanvideo.pipeline import GenerationResult, generate
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.presets import join_layers, load_preset
from wanvideo.request import ProgressEvent

LEAST_CONTRAST = 1.0  # grey levels: a video that is black or one colour has less
log = logging.getLogger("benchmarks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What to make: a preset for a task, and what differs from it. The card has `cap_gib`, all of it free (0:
    what it really has); after the first window only the share `left` of that.
    """

    task: str
    preset: str
    output: str
    changes: dict[str, Any] = field(default_factory=dict)
    cap_gib: float = 0.0
    left: float = 1.0


def run_job(job: Job) -> Row:
    """Make the video and measure. Raises what the engine raises."""
    probe_hardware()  # tells PyTorch's allocator what to do before it starts
    _cap(job.cap_gib)
    watcher = _Watcher(job)
    # The engine asks for the peak of the whole job, which is counted here, stage by stage.
    with HostPeak(0.02) as host, patch("torch.cuda.max_memory_reserved", watcher.reserved_bytes):
        begun = time.perf_counter()
        plan = plan_of(job)
        planned = time.perf_counter()
        log.info("    planned in %.1f s; notes: %s", planned - begun, "; ".join(plan.notes))
        result = generate(plan, open_cache(_machine(job.cap_gib)), watcher)
        wait()
        peak = watcher.reserved_bytes() / GIB
    return {
        "cap_gib": job.cap_gib or None,
        "preset": job.preset,
        **_of_plan(plan),
        "swapped_at_end": result.plan.memory.transformer.blocks,
        **_of_memory(plan, peak),
        "stage_peaks_gib": watcher.allocated,
        "host_own_gib": host.own_gib,
        "host_whole_gib": host.whole_gib,
        "prepare_seconds": planned - begun,
        "seconds": result.seconds,
        "stages": result.stages,
        "notes": len(result.plan.notes),
        "said": list(result.plan.notes),
        "finite": has_contrast(result),
    }


def plan_of(job: Job) -> GenerationPlan:
    """The plan for the claimed card."""
    request, options = join_layers(
        [*load_preset(job.preset).layers(job.task), {"task": job.task}, job.changes]
    )
    machine = _machine(job.cap_gib)
    return prepare(request, options, Path(job.output), tries_kernels=True, machine=machine)[0]


def has_contrast(result: GenerationResult) -> bool:
    """Whether each frame of the file shows something: numbers that are not finite become one colour."""
    frames = read_frames(str(result.output), result.plan.settings.fps)
    return min((float(np.std(frame)) for frame in frames), default=0.0) > LEAST_CONTRAST


class _Watcher:
    """Told how the job goes: counts the card's peaks, and takes memory away when the second window begins.

    `allocated`: stage -> GiB that tensors took at its peak.
    """

    def __init__(self, job: Job) -> None:
        self._job, self._stage, self._lowered = job, "", job.left == 1
        self._reserved = 0
        self.allocated: dict[str, float] = {}

    def __call__(self, event: ProgressEvent) -> None:
        if event.stage != self._stage:
            self._end_stage()
            self._stage = event.stage
            log.info("    window %d: %s", event.window + 1, event.stage)
        if event.message:
            log.info("    %s", event.message)
        if event.window == 1 and not self._lowered:
            self._lowered = True
            log.info("    the cap is lowered to %.1f GiB", self._job.cap_gib * self._job.left)
            _cap(self._job.cap_gib * self._job.left)

    def reserved_bytes(self) -> int:
        """The most until now; 0 without a card."""
        self._end_stage()
        return self._reserved

    def _end_stage(self) -> None:
        if device() == "cpu":
            return
        peaks = torch.cuda.memory_stats()
        self._reserved = max(self._reserved, peaks["reserved_bytes.all.peak"])
        allocated = peaks["allocated_bytes.all.peak"] / GIB
        self.allocated[self._stage] = max(self.allocated.get(self._stage, 0.0), allocated)
        torch.cuda.reset_peak_memory_stats()


def _cap(gib: float) -> None:
    """The most that this process may reserve on the card."""
    if gib and device() == "cuda":
        torch.cuda.empty_cache()
        whole = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, gib * GIB / whole))


def _machine(gib: float) -> Hardware:
    """This machine, its card as large as claimed."""
    machine = probe_hardware()
    if not gib or machine.device == "cpu":
        return machine
    card = replace(machine.gpus[0], total_bytes=int(gib * GIB), free_bytes=int(gib * GIB))
    return replace(machine, gpus=(card, *machine.gpus[1:]))


def _of_plan(plan: GenerationPlan) -> Row:
    memory = plan.memory
    return {
        "size": f"{plan.width}x{plan.height}x{plan.total_frames}",
        "steps": plan.settings.num_inference_steps,
        "quantization": plan.quantization,
        "attention": plan.attention,
        "swapped": memory.transformer.blocks,
        "text_layers_swapped": memory.text_encoder.blocks,
        "chunk_tokens": memory.chunk_tokens,
        "decode_tile": memory.decode_tile,
    }


def _of_memory(plan: GenerationPlan, peak: float) -> Row:
    """`peak` in GiB. `outside_gib`: what the process has on the card beside what PyTorch reserves."""
    forecast = plan.forecast.device_bytes / GIB
    stages = {name: stage.device_bytes / GIB for name, stage in plan.forecast.stages.items()}
    row: Row = {"forecast_gib": forecast, "forecast_stages_gib": stages, "peak_gib": peak or None}
    if device() == "cpu":
        return row
    free, whole = torch.cuda.mem_get_info()
    return {
        **row,
        "peak_to_forecast": peak / forecast - 1 if forecast else None,
        "outside_gib": (whole - free - torch.cuda.memory_reserved()) / GIB,
    }


def main() -> None:
    """Measure the job of standard input; a failure is a row with its reason."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    job = Job(**json.loads(sys.stdin.read()))
    try:
        row = run_job(job)
    except Exception as error:  # whatever the engine raises: it is the row's answer
        log.info("%s", traceback.format_exc())
        row = {REASON: short_reason(error), "peak_gib": peak_gib()}
    print(json.dumps(row), flush=True)


def as_json(job: Job) -> str:
    """As `main` reads it."""
    return json.dumps(asdict(job))


if __name__ == "__main__":
    main()
