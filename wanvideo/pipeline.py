"""The story: inputs are encoded once; then window by window condition, denoise, decode, append; at the end
one file.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from wanvideo.attempts import Attempts
from wanvideo.conditioning import JobInputs, encode_inputs, window_conditions
from wanvideo.finished_file import clear_windows, job_folder, join_windows
from wanvideo.lending import JobModels, job_models
from wanvideo.media.segments import JobFolder
from wanvideo.memory.kept import record_job
from wanvideo.memory_plan import VAE_DECODE
from wanvideo.model_cache import ModelCache
from wanvideo.models.vae import decode_pieces
from wanvideo.plan import GenerationPlan
from wanvideo.request import ignore_progress
from wanvideo.stage_clock import Progress, StageClock
from wanvideo.torch_switches import switched
from wanvideo.window_denoising import denoise_window
from wanvideo.window_frames import DecodedWindow
from wanvideo.windows import Window


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationResult:
    """The finished file, and where the time went (seconds per stage). `plan` is what was carried out: it says
    what became of memory that ran out. `peak_bytes` is the most that PyTorch had of the card, 0 on a CPU.
    """

    output: Path
    plan: GenerationPlan
    seconds: float
    stages: dict[str, float]
    peak_bytes: int


def generate(
    plan: GenerationPlan, cache: ModelCache, progress: Progress = ignore_progress
) -> GenerationResult:
    """Make the video of `plan`.

    Windows finished by an interrupted run of the same plan are taken up. Raises Cancelled when `progress`
    does; what is finished stays on disk (`finished_file.keep_finished` makes a file of it).
    """
    clock = StageClock(progress, len(plan.windows))
    attempts = Attempts(job_models(plan, cache, clock.say), clock)
    folder, built = job_folder(plan), cache.builds
    finished = folder.finished()
    _open_card(plan, cache)
    with switched(plan.switches):
        inputs = attempts.make(lambda models: encode_inputs(plan, models, clock.enter))
        for window in plan.windows[finished:]:
            clock.enter_window(window.index)
            _make_window(plan, window, inputs, folder, attempts)
    clock.enter("join")
    done = replace(plan, memory=attempts.models.memory, notes=(*plan.notes, *attempts.notes))
    output = join_windows(done, folder, plan.output)
    clear_windows(folder)
    if plan.memory.quantizes_on_host:
        cache.clear_card()
    peak = torch.cuda.max_memory_reserved() if plan.device != "cpu" else 0
    stages = clock.stages()
    if not (finished or attempts.notes or cache.builds > built):  # else its seconds tell nothing of others
        record_job(plan.kind, plan.forecast, stages, peak)
    return GenerationResult(output=output, plan=done, seconds=clock.total(), stages=stages, peak_bytes=peak)


def _make_window(
    plan: GenerationPlan, window: Window, inputs: JobInputs, folder: JobFolder, attempts: Attempts
) -> None:
    """One window, onto the disk."""
    clock = attempts.clock
    clock.enter("condition")
    motion = folder.load_state(window.index - 1)["motion"] if window.index else None
    conditions = attempts.make(lambda models: window_conditions(plan, window, inputs, motion, models))
    clock.enter("denoise")
    latents = attempts.make(lambda _: denoise_window(plan, window, inputs, conditions, attempts))

    def decode(models: JobModels) -> None:
        clock.enter("decode")
        decoded = DecodedWindow(plan, window, inputs, clock)
        with models.vae(VAE_DECODE) as vae:
            pieces = decode_pieces(vae, latents, models.memory.decode_tile)
            folder.append(window.index, decoded.frames(pieces), decoded.state)

    attempts.make(decode)


def _open_card(plan: GenerationPlan, cache: ModelCache) -> None:
    if plan.device == "cpu":
        return
    cache.limit(plan.memory.budget_bytes or None)
    torch.cuda.reset_peak_memory_stats()
