"""Forecasts of whole jobs beside the peaks that an H200 showed for them, its memory capped: within 5 %. Their
VAE was in fp32.

The peaks, and the plans they belong to, stand in docs/benchmarks.md: `python -m benchmarks jobs`.
"""

from dataclasses import dataclass, replace

import pytest

from benchmarks.whole_jobs import CASES, FRAMES, KINDS, MOTION, STEPS, Case
from tests.memory.cases import EXACT, GIB, card, models
from tests.plan_cases import SPOKEN, STILL, Values, plan
from wanvideo.plan import GenerationPlan
from wanvideo.presets import load_preset
from wanvideo.request import TALK, TEXT_TO_VIDEO

CLOSE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was reserved at most, in GiB, with so many blocks swapped, tokens at a time and tile."""

    peak: float
    swapped: int
    chunk: int
    tile: int


MEASURED = {
    ("text to video 1.3B", 6): Measured(peak=3.58, swapped=0, chunk=0, tile=384),
    ("text to video 14B", 12): Measured(peak=10.98, swapped=29, chunk=16_384, tile=512),
    ("image to video 14B", 8): Measured(peak=6.93, swapped=25, chunk=8_192, tile=384),
    ("image to video 14B", 12): Measured(peak=10.87, swapped=23, chunk=8_192, tile=384),
    ("image to video 14B", 16): Measured(peak=14.97, swapped=12, chunk=8_192, tile=384),
    ("image to video 14B", 24): Measured(peak=23.62, swapped=0, chunk=0, tile=512),
    ("talk 14B", 8): Measured(peak=6.96, swapped=28, chunk=8_192, tile=272),
    ("talk 14B", 12): Measured(peak=11.59, swapped=25, chunk=8_192, tile=512),
    ("talk 14B", 16): Measured(peak=15.29, swapped=16, chunk=8_192, tile=512),
    ("talk 14B", 24): Measured(peak=23.23, swapped=0, chunk=0, tile=512),
}
JOBS = {(case.kind, case.gib): case for case in CASES if case.what == "job"}


def planned(case: Case) -> GenerationPlan:
    kind = KINDS[case.kind]
    width, height = kind.size
    asked: Values = {"task": kind.task, "width": width, "height": height, "num_frames": FRAMES}
    asked |= {"num_inference_steps": STEPS}
    asked |= {} if kind.task == TEXT_TO_VIDEO else {"image": "a.png"}
    if kind.task == TALK:
        asked |= {"audio": ["a.wav"], "window_frames": FRAMES, "motion_frames": MOTION}
    preset = load_preset(case.preset)
    machine = card(case.gib, (9, 0), ram=128)
    whole = replace(machine.gpus[0], free_bytes=case.gib * GIB)
    found = models(kind.task, small="1.3B" in case.kind)
    request = {**preset.request, **preset.tasks.get(kind.task, {}), **asked}
    options = {**preset.options, "attention": EXACT.name, "vae_precision": "fp32"}
    facts = SPOKEN if kind.task == TALK else STILL
    return plan(request, facts, found, replace(machine, gpus=(whole,)), options)


def test_every_job_is_measured() -> None:
    assert MEASURED.keys() == JOBS.keys()


@pytest.mark.parametrize("job", MEASURED, ids=lambda job: f"{job[0]} {job[1]} GB")
def test_the_forecast_is_what_was_measured(job: tuple[str, int]) -> None:
    made, measured = planned(JOBS[job]), MEASURED[job]
    memory = made.memory
    assert (memory.transformer.blocks, memory.chunk_tokens, memory.decode_tile) == (
        measured.swapped,
        measured.chunk,
        measured.tile,
    )
    assert measured.peak == pytest.approx(made.forecast.device_bytes / GIB, rel=CLOSE)
