"""Plans on cards of every size: they fit and swap no more than they must; less memory never swaps less."""

from dataclasses import replace

import pytest

from tests.memory.cases import GIB, card, job, planned
from tests.plan_cases import CPU
from wanvideo.memory.constants import CHUNKS
from wanvideo.memory.fitting import fit, peak_bytes
from wanvideo.memory.room import Room, room_on, with_own_memory
from wanvideo.memory.stages import denoise_bytes
from wanvideo.memory.wishes import wishes_of
from wanvideo.memory_plan import MemoryPlan
from wanvideo.options import RuntimeOptions
from wanvideo.request import TASKS

# What product.md's tiers recommend: GiB of the card, quantization, size, frames
TIERS = [
    (8, "fp4_scaled", "480p", 81),
    (8, "fp4_scaled", "720p", 61),
    (12, "fp8_e4m3fn_scaled", "480p", 81),
    (12, "fp8_e4m3fn_scaled", "720p", 81),
    (16, "fp8_e4m3fn_scaled", "480p", 81),
    (16, "fp8_e4m3fn_scaled", "720p", 81),
    (24, "fp8_e4m3fn_scaled_fast", "720p", 81),
    (32, "fp8_e4m3fn_scaled_fast", "720p", 121),
    (32, "disabled", "720p", 121),
]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("gib", "mode", "size", "frames"), TIERS)
def test_every_tier_runs_what_it_recommends(task: str, gib: int, mode: str, size: str, frames: int) -> None:
    made = planned(task, card(gib), {"quantization": mode}, size=size, frames=frames)
    assert made.forecast.device_bytes <= made.memory.budget_bytes < gib * GIB
    assert not any("expected to need" in note and "of the card" in note for note in made.notes)
    assert 0 <= made.memory.transformer.blocks <= 40
    assert made.memory.chunk_tokens in (0, *CHUNKS)


@pytest.mark.parametrize(
    ("gib", "mode", "least", "most"),
    [(8, "fp4_scaled", 18, 32), (12, "fp8_e4m3fn_scaled", 12, 26), (24, "fp8_e4m3fn_scaled", 0, 0),
     (12, "fp4_scaled", 0, 4), (24, "disabled", 6, 18), (48, "disabled", 0, 0)],
)  # fmt: skip
def test_blocks_of_14b_at_480p(gib: int, mode: str, least: int, most: int) -> None:
    made = planned("text_to_video", card(gib), {"quantization": mode})
    assert least <= made.memory.transformer.blocks <= most


def test_1_3b_fits_into_6_gb() -> None:
    made = planned("text_to_video", card(6), small=True)
    assert made.forecast.device_bytes <= made.memory.budget_bytes
    assert made.memory.transformer.blocks == 0
    assert made.memory.text_encoder.blocks == 24  # of 10.6 GiB


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled", "fp4_scaled"])
@pytest.mark.parametrize("size", ["480p", "720p"])
def test_less_memory_never_swaps_fewer_blocks(task: str, mode: str, size: str) -> None:
    made, options, last = job(task, size, mode, passes=3), RuntimeOptions(), -1
    for quarters in range(200, 15, -1):
        room = room_on(card(quarters / 4), options)
        memory = fit(made, wishes_of(options, made, room), room)
        assert memory.transformer.blocks >= last
        last = memory.transformer.blocks
    assert last == 40


@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled", "fp4_scaled"])
def test_one_block_fewer_would_not_fit(mode: str) -> None:
    options, made, looked_at = RuntimeOptions(bandwidth_target=1.0), job(mode=mode), 0
    for gib in range(6, 30):
        room = room_on(card(gib), options)
        memory = fit(made, wishes_of(options, made, room), room)
        blocks = memory.transformer.blocks
        if 0 < blocks < 40:
            fewer = replace(
                memory, transformer=replace(memory.transformer, blocks=blocks - 1), chunk_tokens=CHUNKS[-1]
            )
            assert denoise_bytes(made, fewer) > room.budget >= denoise_bytes(made, memory)
            looked_at += 1
    assert looked_at > 3


def test_chunks_come_before_swapping() -> None:
    """A card on which the whole model fits only in chunks swaps nothing."""
    made, options = job(mode="fp8_e4m3fn_scaled"), RuntimeOptions()
    whole, chunked = (denoise_bytes(made, MemoryPlan(chunk_tokens=chunk)) for chunk in (0, CHUNKS[-1]))
    budget = (whole + chunked) // 2
    room = Room(budget=budget, weights=budget, total=budget)
    memory = fit(made, wishes_of(options, made, room), room)
    assert memory.transformer.blocks == 0 and memory.chunk_tokens in CHUNKS


def test_passes_go_together_where_blocks_are_swapped() -> None:
    swapped = planned("text_to_video", card(12), {"quantization": "disabled"})
    resident = planned("text_to_video", card(80), {"quantization": "disabled"})
    assert swapped.memory.passes_together and not resident.memory.passes_together


def test_nothing_is_tiled_on_a_large_card_and_all_on_a_small_one() -> None:
    large, small = (
        planned("talk", card(gib), {"quantization": "fp4_scaled"}, size="720p") for gib in (80, 8)
    )
    assert (large.memory.decode_tile, large.memory.encode_tile, large.memory.steps_aside) == (0, 0, False)
    assert small.memory.decode_tile > 0 and small.memory.encode_tile > 0


def test_the_model_steps_aside_when_no_tile_fits_beside_it() -> None:
    made, options = job(), RuntimeOptions()
    budget = denoise_bytes(made, MemoryPlan(chunk_tokens=CHUNKS[-1])) + (1 << 20)
    made = replace(made, sizes=replace(made.sizes, vae=3 * GIB))
    room = Room(budget=budget, weights=budget, total=budget)
    memory = fit(made, wishes_of(options, made, room), room)
    assert memory.transformer.blocks == 0 and memory.steps_aside
    assert peak_bytes(made, memory) <= budget


def test_a_cpu_swaps_nothing_and_works_in_chunks() -> None:
    made = planned("text_to_video", CPU)
    assert made.memory.transformer.blocks == made.memory.text_encoder.blocks == 0
    assert made.memory.budget_bytes == made.forecast.device_bytes == 0
    assert made.memory.chunk_tokens > 0
    assert any("of main memory" in note for note in made.notes)


def test_what_a_program_holds_itself_is_free_to_its_next_job() -> None:
    machine = card(24)
    gpu = machine.gpus[0]
    busy = replace(machine, gpus=(replace(gpu, free_bytes=gpu.free_bytes - 14 * GIB),))
    again = with_own_memory(busy, 14 * GIB)
    options = RuntimeOptions()
    assert room_on(again, options) == room_on(machine, options) != room_on(busy, options)
    assert room_on(with_own_memory(machine, 99 * GIB), options).budget < gpu.total_bytes
