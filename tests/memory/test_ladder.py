"""The ladder after the memory ran out: it ends, and every rung needs less."""

from dataclasses import replace
from itertools import product

import pytest

from tests.memory.cases import card, job, planned
from wanvideo.memory.constants import VAE_TILES
from wanvideo.memory.ladder import next_rung
from wanvideo.memory.stages import stage_bytes
from wanvideo.memory_plan import MemoryPlan, SwapPlan
from wanvideo.models.vae_tiles import SMALLEST_TILE, tile_grid
from wanvideo.request import TASKS

PLANS = [
    MemoryPlan(
        transformer=SwapPlan(blocks=blocks, slots=slots),
        text_encoder=SwapPlan(blocks=text),
        chunk_tokens=chunk,
        passes_together=together and blocks > 0,
        decode_tile=tile,
        encode_tile=tile,
        steps_aside=aside,
    )
    for blocks, slots, text, chunk, together, tile, aside in product(
        (0, 1, 20, 40), (1, 2, 5), (0, 24), (0, 4096), (False, True), (0, 272), (False, True)
    )
]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("stage", ["text", "picture", "condition", "denoise", "decode"])
def test_every_rung_needs_less_and_there_is_a_last_one(task: str, stage: str) -> None:
    made = job(task, passes=3)
    for start in PLANS:
        memory, rungs = start, 0
        while (rung := next_rung(memory, stage, 40, 24)) is not None:
            below, words = rung
            needs = [stage_bytes(made, plan).get(stage, 0) for plan in (memory, below)]
            if stage in stage_bytes(made, memory) and stage != "picture":
                assert needs[1] < needs[0], words
            assert needs[1] <= needs[0] and words
            memory, rungs = below, rungs + 1
        assert rungs < 16
        assert memory == start if rungs == 0 else memory != start


def test_a_rung_swaps_more_than_its_slots() -> None:
    """Of a model with few blocks a quarter would not even fill them."""
    few = replace(job(), sizes=replace(job().sizes, blocks=6))
    start = MemoryPlan(chunk_tokens=4096, transformer=SwapPlan(slots=4))
    rung = next_rung(start, "denoise", 6, 24)
    assert rung is not None
    assert stage_bytes(few, rung[0])["denoise"] < stage_bytes(few, start)["denoise"]


def test_the_end_of_the_ladder_is_the_least_there_is() -> None:
    memory = MemoryPlan(passes_together=True)
    for stage in ("text", "denoise", "decode", "condition"):
        while (rung := next_rung(memory, stage, 40, 24)) is not None:
            memory = rung[0]
    assert memory.transformer == SwapPlan(blocks=40, slots=1)
    assert memory.text_encoder == SwapPlan(blocks=24, slots=1)
    assert (memory.chunk_tokens, memory.decode_tile, memory.encode_tile) == (2048, 192, 192)
    assert memory.steps_aside and not memory.passes_together


def test_what_the_planner_made_has_rungs_left() -> None:
    for gib in (8, 12, 16, 24, 32):
        made = planned("text_to_video", card(gib), {"quantization": "fp8_e4m3fn_scaled"})
        assert next_rung(made.memory, "denoise", 40, 24) is not None


def test_the_smallest_tile_is_the_smallest_there_is() -> None:
    assert min(VAE_TILES) == SMALLEST_TILE and sorted(VAE_TILES, reverse=True) == list(VAE_TILES)
    for tile in VAE_TILES:
        assert tile_grid(480, 832, tile)


def test_other_parts_of_the_plan_stay() -> None:
    start = MemoryPlan(budget_bytes=5, transformer=SwapPlan(streams=3, pinned_bytes=7, timed=True))
    rung = next_rung(replace(start, chunk_tokens=4096), "denoise", 40, 24)
    assert rung is not None
    swap = rung[0].transformer
    assert (rung[0].budget_bytes, swap.streams, swap.pinned_bytes, swap.timed) == (5, 3, 7, True)
    assert swap.blocks == 10
