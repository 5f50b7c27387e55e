"""What the 14B model takes of a card at each size, length and mode: the planner's forecast, and beside it
what a forward pass really reserved where this machine has a card for it.

The peak does not depend on how many blocks run one after the other, so two of them tell it.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.forwards import DENSE, EXACT, our_call
from benchmarks.header_files import write_headers
from benchmarks.measuring import GIB, device, peak_gib, reset_peak
from benchmarks.modes import _inputs
from benchmarks.planned import HEADERS, MODEL
from benchmarks.quickest_attention import middle_place
from benchmarks.random_model import TINY, WAN_14B, build
from benchmarks.random_sizes import ENCODERS
from benchmarks.report import Report, Row
from wanvideo.checkpoint.catalog import ModelSet, resolve_models
from wanvideo.decided_options import FP16
from wanvideo.geometry import latent_frames
from wanvideo.hardware import Hardware
from wanvideo.known_cards import assumed
from wanvideo.memory.fitting import Wishes, fit, peak_bytes
from wanvideo.memory.room import room_on
from wanvideo.memory.sizes import model_sizes
from wanvideo.memory.stages import DECODE, DENOISE, stage_bytes
from wanvideo.memory.work import Job, Work
from wanvideo.memory_plan import MemoryPlan
from wanvideo.models.transformer import WanTransformer
from wanvideo.models.vae_tiles import CELL
from wanvideo.options import RuntimeOptions
from wanvideo.registry import quantization_modes
from wanvideo.request import TEXT_TO_VIDEO

SIZES, TINY_SIZES = {"480p": (832, 480), "720p": (1280, 720), "1088p": (1920, 1088)}, {"64p": (64, 64)}
FRAMES, TINY_FRAMES = (49, 81, 121), (5, 9)
MODES = (DENSE, "fp8_e4m3fn_scaled_fast", "fp4_scaled")
CARDS = ("RTX 3060 8GB", "RTX 3060", "RTX 4060 Ti 16GB", "RTX 4090", "RTX 5090", "A100 40GB", "H100", "H200")
BLOCKS_RUN = 2
NO_ROOM = "out of memory"


class Peaks:
    """Measures one mode after the other; the model is built when it is first needed."""

    def __init__(self, machine: Hardware, models: ModelSet, *, quick: bool) -> None:
        self._machine, self._models, self._quick = machine, models, quick
        self._size = TINY if quick else WAN_14B
        self._built: tuple[str, WanTransformer] | None = None

    def measure(self, mode: str, size: tuple[int, int], frames: int) -> Row:
        """Forecasts in GiB with everything on the card and nothing in parts, the smallest card of `CARDS`
        that the planner makes it fit, and the measured peak.
        """
        job = self._job(mode, size, frames)
        stages = stage_bytes(job, MemoryPlan())
        return {
            "tokens": job.work.tokens,
            "forecast_gib": stages[DENOISE] / GIB,
            "decode_gib": stages[DECODE] / GIB,
            "card": _smallest_card(self._machine, job),
            "measured_gib": self._measured(mode, size, frames),
        }

    def _job(self, mode: str, size: tuple[int, int], frames: int) -> Job:
        width, height = size
        return Job(
            work=Work(frames=frames, height=height, width=width),
            sizes=model_sizes(self._models, quantization_modes()[mode], False, "bf16", FP16),
            backend=EXACT,
        )

    def _measured(self, mode: str, size: tuple[int, int], frames: int) -> float | str | None:
        """GiB; words where the card has not the room; None without a card."""
        if device() == "cpu" and not self._quick:
            return None
        try:
            return self._peak(mode, size, frames)
        except torch.OutOfMemoryError:
            return NO_ROOM

    @torch.no_grad()
    def _peak(self, mode: str, size: tuple[int, int], frames: int) -> float | None:
        model = self._model(mode)
        width, height = size
        shape = (16, latent_frames(frames), height // CELL, width // CELL)
        latents, prompt = _inputs(replace(self._size, latents=shape))
        model.set_attention(EXACT.load, middle_place(latents))
        whole = model.blocks
        model.blocks = whole[:BLOCKS_RUN]
        try:
            reset_peak()
            our_call(model, latents, prompt)()
            return peak_gib()
        finally:
            model.blocks = whole

    def _model(self, mode: str) -> WanTransformer:
        if self._built is None or self._built[0] != mode:
            self._built = None
            reset_peak()
            self._built = (mode, build(self._size, quantization_modes()[mode])[0])
        return self._built[1]


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """A row for each mode, size and length. `only`: modes or sizes."""
    peaks = Peaks(machine, _models(report.files, quick=quick), quick=quick)
    sizes, lengths = (TINY_SIZES, TINY_FRAMES) if quick else (SIZES, FRAMES)
    for mode in MODES:
        for name, size in sizes.items():
            for frames in lengths if not only or {mode, name} & set(only) else ():
                key = {"mode": mode, "size": name, "frames": frames}
                if not report.has(key):
                    report.add(key, partial(peaks.measure, mode, size, frames))


def _models(files: Path, *, quick: bool) -> ModelSet:
    folder = files / HEADERS
    paths = write_headers([MODEL, *ENCODERS], folder, quick=quick)
    return resolve_models(TEXT_TO_VIDEO, paths[MODEL].stem, [folder])


def _smallest_card(machine: Hardware, job: Job) -> str:
    """By the planner, with as many blocks swapped, and chunks as small, as it takes; empty where none has
    the room. The machine has main memory enough for all that is swapped.
    """
    for name in CARDS:
        plenty = replace(machine, ram_bytes=128 * GIB, free_ram_bytes=120 * GIB)
        room = room_on(assumed(plenty, name), RuntimeOptions())
        if peak_bytes(job, fit(job, Wishes(), room)) <= room.budget:
            return f"{room.total / GIB:.0f} GB"
    return ""
