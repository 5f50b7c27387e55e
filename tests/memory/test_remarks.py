"""Every option of memory changes the plan or gives a note, and nothing is said that nobody asked about."""

import re
from dataclasses import fields

import pytest

from tests.memory.cases import GIB, SIZES, card, job, planned
from tests.plan_cases import CPU, Values
from wanvideo.errors import UserError
from wanvideo.memory.stages import weights_bytes
from wanvideo.options import RuntimeOptions
from wanvideo.plan import GenerationPlan
from wanvideo.registry import attention_backends, quantization_modes

# Option -> a value that is not its default
OPTIONS: Values = {
    "auto_hardware_tuning": False,
    "blocks_to_swap": 39,
    "load_device": "offload_device",
    "num_cuda_streams": 16,
    "prefetch_blocks": 2,
    "bandwidth_target": 0.3,
    "vram_threshold_percent": 50,
    "enable_cuda_optimization": False,
    "enable_dram_optimization": False,
    "offload_txt_emb": True,
    "offload_img_emb": True,
    "vace_blocks_to_swap": 3,
    "vae_tiling": "off",
    "force_offload": True,
    "debug_mode": True,
}
FP8 = {"quantization": "fp8_e4m3fn_scaled"}


def swapped(options: Values) -> GenerationPlan:
    """On a card where a part of the blocks is swapped, for a model that embeds a picture."""
    return planned("image_to_video", card(12), {**FP8, **options})


def test_the_table_has_every_option_of_memory() -> None:
    names = [item.name for item in fields(RuntimeOptions)]
    first, last = names.index("auto_hardware_tuning"), names.index("debug_mode")
    assert set(OPTIONS) == set(names[first : last + 1])


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_changes_the_plan_or_gives_a_note(name: str) -> None:
    before, after = swapped({}), swapped({name: OPTIONS[name]})
    assert before.notes == ()
    told = any(name in note for note in after.notes)
    assert told or (after.memory, after.forecast) != (before.memory, before.forecast)


@pytest.mark.parametrize("name", sorted({*OPTIONS} - {"auto_hardware_tuning", "vae_tiling"}))
def test_without_a_card_options_for_cards_are_idle(name: str) -> None:
    """The pocket model's machine."""
    notes = planned("text_to_video", CPU, {name: OPTIONS[name]}).notes
    assert any(note.startswith(name) and "no effect" in note for note in notes)


SWAPPING = ("num_cuda_streams", "prefetch_blocks", "bandwidth_target", "enable_cuda_optimization",
            "enable_dram_optimization", "debug_mode")  # fmt: skip


@pytest.mark.parametrize("name", SWAPPING)
def test_where_nothing_is_swapped_its_options_are_idle(name: str) -> None:
    notes = planned("text_to_video", card(80), {name: OPTIONS[name]}).notes
    assert notes == (f"{name} has no effect while no block is swapped",)


@pytest.mark.parametrize(
    ("options", "note"),
    [
        ({"blocks_to_swap": 60}, "blocks_to_swap: 60 asked, 40 used, the model has no more"),
        ({"blocks_to_swap": 39}, None),
        ({"blocks_to_swap": 3}, "blocks_to_swap: 3 asked, 2. used, fewer do not fit"),
        ({"blocks_to_swap": 0}, "blocks_to_swap: 0 asked, 2. used, fewer do not fit"),
        ({"num_cuda_streams": 16}, "num_cuda_streams: 16 asked, 4 used, more gain nothing"),
        ({"num_cuda_streams": 3}, None),
        ({"auto_hardware_tuning": False, "num_cuda_streams": 8}, "num_cuda_streams: 8 asked, 4 used"),
        ({"auto_hardware_tuning": False}, "without automatic tuning none, but the job would not fit"),
        ({"vram_threshold_percent": 30}, None),
        ({"enable_cuda_optimization": False, "prefetch_blocks": 2}, "prefetch_blocks has no effect without"),
    ],
)
def test_notes_about_swapping(options: Values, note: str | None) -> None:
    notes = swapped(options).notes
    assert (notes == ()) if note is None else any(re.search(note, said) for said in notes)


def test_a_number_of_blocks_is_a_minimum() -> None:
    assert swapped({"blocks_to_swap": 39}).memory.transformer.blocks == 39
    assert swapped({"blocks_to_swap": 3}).memory == swapped({}).memory


def test_the_workflow_of_the_seeds() -> None:
    """blocks 40, 16 streams, threshold 80, bandwidth 1."""
    made = swapped(
        {"blocks_to_swap": 40, "num_cuda_streams": 16, "vram_threshold_percent": 80, "bandwidth_target": 1}
    )
    assert made.effective()["blocks_to_swap"] == 40
    assert made.effective()["num_cuda_streams"] == 4


def test_a_threshold_holds_for_weights_and_slots() -> None:
    free, held = swapped({}), swapped({"vram_threshold_percent": 40})
    assert held.memory.transformer.blocks > free.memory.transformer.blocks
    sizes = job("image_to_video", mode="fp8_e4m3fn_scaled").sizes
    assert weights_bytes(sizes, held.memory) <= 0.4 * 12 * GIB


def test_a_threshold_below_the_least_is_told() -> None:
    made = planned("image_to_video", card(6), {"quantization": "disabled", "vram_threshold_percent": 30})
    assert any("vram_threshold_percent 30 leaves" in note for note in made.notes)
    assert made.memory.transformer.blocks == 40


def test_prefetch_gives_way_last() -> None:
    made = planned("image_to_video", card(9), {"quantization": "disabled", "prefetch_blocks": 4}, size="720p")
    assert made.memory.transformer.blocks == 40 and made.memory.transformer.slots < 5
    assert any("prefetch_blocks: 4 asked" in note for note in made.notes)


@pytest.mark.parametrize("ram", [16, 32, 256])
def test_page_locked_memory_is_bounded(ram: int) -> None:
    made = planned("image_to_video", card(8, ram=ram), {"quantization": "disabled"})
    pinned, share = made.memory.transformer.pinned_bytes, made.effective()["pinned_percent"]
    assert pinned <= ram * (1 << 30) // 2
    assert (share == 100) == (ram == 256)
    assert any("can be page-locked" in note for note in made.notes) == (share < 100)


def test_plain_copies_pin_nothing_and_have_one_slot() -> None:
    swap = swapped({"enable_cuda_optimization": False}).memory.transformer
    assert (swap.asynchronous, swap.slots, swap.pinned_bytes) == (False, 1, 0)
    assert swapped({"enable_dram_optimization": False}).memory.transformer.pinned_bytes == 0


def test_without_tuning_auto_is_plain() -> None:
    plain = {"auto_hardware_tuning": False, "attention": "auto", "quantization": "auto"}
    made = planned("text_to_video", card(24), plain)
    assert attention_backends()[made.attention].fallback is None
    assert quantization_modes()[made.quantization].store is None
    tuned = planned("text_to_video", card(24), {"quantization": "auto"})
    assert quantization_modes()[tuned.quantization].store is not None


@pytest.mark.parametrize(("tiling", "tiled"), [("on", True), ("off", False), ("auto", False)])
def test_tiling_as_asked(tiling: str, tiled: bool) -> None:
    assert (planned("text_to_video", card(80), {"vae_tiling": tiling}).memory.decode_tile > 0) == tiled


def test_a_job_that_does_not_fit_is_told_with_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    made = planned("text_to_video", card(6), FP8, size="1080p", frames=121)
    (note,) = [note for note in made.notes if "of the card" in note]
    assert "expected to need" in note and "would fit" in note
    size, frames = (part.split()[0] for part in note.split("; ")[1].split(" or "))
    width, height = (int(edge) for edge in size.split("x"))
    monkeypatch.setitem(SIZES, "smaller", (width, height))
    smaller = planned("text_to_video", card(6), FP8, size="smaller", frames=121)
    shorter = planned("text_to_video", card(6), FP8, size="1080p", frames=int(frames))
    assert not any("of the card" in note for note in (*smaller.notes, *shorter.notes))
    with pytest.raises(UserError, match="expected to need more than fits.*would fit"):
        planned("text_to_video", card(6), {**FP8, "strict": True}, size="1080p", frames=121)


def test_too_little_main_memory_is_told() -> None:
    made = planned("image_to_video", card(8, ram=16), {"quantization": "disabled"})
    assert any("of main memory" in note for note in made.notes)
    assert made.forecast.host_bytes > made.forecast.swapped_bytes > 0
