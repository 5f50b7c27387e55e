"""The story: inputs are encoded once; then window by window condition, denoise, decode, append; at the end
one file.
"""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from wanvideo.attempts import Attempts
from wanvideo.compiled_blocks import compilations_timed
from wanvideo.conditioning import JobInputs, encode_inputs, window_conditions
from wanvideo.finished_file import (
    WAYS,
    clear_windows,
    job_folder,
    join_windows,
    with_passes_of,
    with_way,
)
from wanvideo.lending import DTYPES, JobModels, job_models
from wanvideo.media.pictures import fit_picture
from wanvideo.media.segments import JobFolder
from wanvideo.memory.kept import record_compiling, record_job
from wanvideo.memory_plan import VAE_DECODE
from wanvideo.model_cache import ModelCache
from wanvideo.models.vae import decode_pieces
from wanvideo.plan import GenerationPlan
from wanvideo.quality.again import tried_again
from wanvideo.quality.guard import BrokenOutput
from wanvideo.quality.report import QualityReport
from wanvideo.request import ignore_progress
from wanvideo.stage_clock import Progress, StageClock
from wanvideo.step_cache.window import PASSES, with_passes
from wanvideo.torch_switches import switched
from wanvideo.window_denoising import denoise_window
from wanvideo.window_frames import MOTION, DecodedWindow
from wanvideo.windows import Window

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The finished file, and where the time went (seconds per stage). `plan` is what was carried out: it says
    what became of memory that ran out and of attention that failed. `quality`: what was measured of the
    frames. `peak_bytes` is the most that PyTorch had of the card, 0 on a CPU.
    """

    output: Path
    plan: GenerationPlan
    quality: QualityReport
    seconds: float
    stages: dict[str, float]
    peak_bytes: int


Steer = Callable[[GenerationPlan, Window], GenerationPlan]


def keep_course(plan: GenerationPlan, _window: Window) -> GenerationPlan:
    """The steering of those who change nothing on the way."""
    return plan


def generate(
    plan: GenerationPlan,
    cache: ModelCache,
    progress: Progress = ignore_progress,
    steer: Steer = keep_course,
) -> GenerationResult:
    """Make the video of `plan`.

    Windows finished by an interrupted run of the same plan are taken up. Raises Cancelled when `progress`
    does; what is finished stays on disk (`finished_file.keep_finished` makes a file of it). `steer` is asked
    before each window and may give back the plan with another attention for the rest.
    """
    clock = StageClock(progress, len(plan.windows))
    attempts = Attempts(job_models(plan, cache, clock.say), clock)
    folder, built, asked = job_folder(plan), cache.builds, plan
    finished = folder.finished()
    _open_card(plan, cache)
    with switched(plan.switches), _compiling(plan, clock):
        inputs = attempts.make(lambda models: encode_inputs(plan, models, clock.enter))
        for window in plan.windows[finished:]:
            clock.enter_window(window.index)
            plan = steer(plan, window)
            plan = _make_window(plan, window, inputs, folder, attempts)
    clock.enter("join")
    done = replace(plan, memory=attempts.models.memory, notes=(*plan.notes, *attempts.notes))
    done = with_passes_of(done, folder)
    output, quality = join_windows(done, folder, plan.output)
    clear_windows(folder)
    if plan.memory.quantizes_on_host:
        cache.clear_card()
    peak = torch.cuda.max_memory_reserved() if plan.device != "cpu" else 0
    stages = clock.stages()
    record_compiling(plan.kind, stages)
    strays = finished or attempts.notes or plan is not asked
    if not strays and cache.builds == built:  # else its seconds tell nothing of others
        record_job(plan.kind, plan.forecast, stages, peak)
    return GenerationResult(
        output=output,
        plan=done,
        quality=quality,
        seconds=clock.total(),
        stages=stages,
        peak_bytes=peak,
    )


def _compiling(plan: GenerationPlan, clock: StageClock) -> AbstractContextManager[None]:
    """Compiling is a stage of its own in the clock, whatever goes on meanwhile."""
    return compilations_timed(clock.apart("compile")) if plan.compile.blocks else nullcontext()


def _make_window(
    plan: GenerationPlan, window: Window, inputs: JobInputs, folder: JobFolder, attempts: Attempts
) -> GenerationPlan:
    """One window, onto the disk; returns the plan that holds from here on. Raises UserError when what comes
    out is no video.
    """
    latents: Tensor | None = None
    before = folder.load_state(window.index - 1) if window.index else _carried_over(plan, window)
    while True:
        try:
            if latents is None:
                latents = _denoised(plan, window, inputs, before.get(MOTION), attempts)
            _decode(latents, plan, window, inputs, (folder, before), attempts)
            return plan
        except BrokenOutput as broken:
            again = tried_again(plan, window.index, broken)
        if again.attention != plan.attention:
            latents = None
        plan = again
        attempts.models = replace(attempts.models, vae_dtype=DTYPES[plan.vae_dtype])
        attempts.clock.say(plan.notes[-1])
        log.warning("%s", plan.notes[-1])


def _denoised(
    plan: GenerationPlan, window: Window, inputs: JobInputs, motion: Tensor | None, attempts: Attempts
) -> Tensor:
    attempts.clock.enter("condition")
    conditions = attempts.make(lambda models: window_conditions(plan, window, inputs, motion, models))
    attempts.clock.enter("denoise")
    return attempts.make(lambda _: denoise_window(plan, window, inputs, conditions, attempts))


def _decode(
    latents: Tensor,
    plan: GenerationPlan,
    window: Window,
    inputs: JobInputs,
    disk: tuple[JobFolder, dict[str, Tensor]],
    attempts: Attempts,
) -> None:
    """`disk`: where windows go, and the state of the one before."""
    (folder, before), clock = disk, attempts.clock

    def decode(models: JobModels) -> None:
        clock.enter("decode")
        decoded = DecodedWindow(plan, window, inputs, clock, before)
        with models.vae(VAE_DECODE) as vae:
            pieces = decode_pieces(vae, latents, models.memory.decode_tile)
            told = {**with_passes(before.get(PASSES), attempts.passes), **with_way(before.get(WAYS), plan)}
            folder.append(window.index, decoded.frames(pieces), lambda: {**decoded.state(), **told})

    attempts.make(decode)


def _carried_over(plan: GenerationPlan, first: Window) -> dict[str, Tensor]:
    """What the first window goes on from: the last pixels of the old video, if there is one."""
    if plan.old is None:
        return {}
    frames = [Image.fromarray(frame) for frame in plan.old.last_frames(first.skip)]
    return {MOTION: torch.cat([fit_picture(frame, plan.height, plan.width) for frame in frames], dim=1)}


def _open_card(plan: GenerationPlan, cache: ModelCache) -> None:
    if plan.device == "cpu":
        return
    cache.limit(plan.memory.budget_bytes or None)
    torch.cuda.reset_peak_memory_stats()
