"""Sentences for what differs from what was asked of memory, and for options that come to nothing."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from wanvideo.fallback import AUTO
from wanvideo.memory import constants
from wanvideo.memory.fitting import least_weights
from wanvideo.memory.room import Room
from wanvideo.memory.stages import swapped_bytes
from wanvideo.memory.wishes import asked_blocks
from wanvideo.memory.work import Job
from wanvideo.memory_plan import Forecast, MemoryPlan
from wanvideo.options import RuntimeOptions
from wanvideo.request import OPTION_FIELDS

FOR_CARDS = (
    "blocks_to_swap", "load_device", "vram_threshold_percent", "offload_txt_emb", "offload_img_emb",
    "force_offload",
)  # fmt: skip
FOR_SWAPPED = (
    "num_cuda_streams", "prefetch_blocks", "bandwidth_target", "enable_cuda_optimization",
    "enable_dram_optimization", "debug_mode",
)  # fmt: skip


def gigabytes(size: float) -> str:
    """As cards are named: a "12 GB" card has 12 times 2^30 bytes."""
    return f"{size / constants.GIB:.1f} GB"


def effective_memory(memory: MemoryPlan, forecast: Forecast) -> dict[str, Any]:
    """What really runs, under the names of the options. `pinned_percent`: of the swapped blocks."""
    swap = memory.transformer
    return {
        "blocks_to_swap": swap.blocks,
        "num_cuda_streams": swap.streams if swap.blocks else 0,
        "prefetch_blocks": min(swap.slots, swap.blocks) - 1 if swap.blocks else 0,
        "pinned_percent": round(100 * pinned_share(memory, forecast.swapped_bytes)),
        "chunk_tokens": memory.chunk_tokens,
        "passes_together": memory.passes_together,
        "text_layers_swapped": memory.text_encoder.blocks,
        "vae_tile": memory.decode_tile,
        "force_offload": memory.steps_aside,
    }


def pinned_share(memory: MemoryPlan, swapped: int) -> float:
    """Of the `swapped` bytes of blocks, in page-locked memory; 0 where none are."""
    return min(1.0, memory.transformer.pinned_bytes / swapped) if swapped else 0.0


def remarks(job: Job, options: RuntimeOptions, memory: MemoryPlan, room: Room) -> Iterator[str]:
    """All of them, without a full stop."""
    if options.vace_blocks_to_swap:
        yield "vace_blocks_to_swap has no effect: there is no VACE here"
    if room.on_card:
        yield from chain(
            _about_blocks(job, options, memory),
            _about_copies(job, options, memory, room),
            _about_resident(job, options, memory, room),
        )
    else:
        yield from _idle(options, (*FOR_CARDS, *FOR_SWAPPED), "without a card")
    yield from _about_tiling(options, memory)


def _idle(options: RuntimeOptions, names: tuple[str, ...], why: str) -> Iterator[str]:
    unset: Mapping[str, tuple[object, ...]] = {"blocks_to_swap": (0,)}
    set_ones = [
        name
        for name in names
        if getattr(options, name) not in (OPTION_FIELDS[name].default, *unset.get(name, ()))
    ]
    if set_ones:
        has = "has" if len(set_ones) == 1 else "have"
        yield f"{', '.join(set_ones)} {has} no effect {why}"


def _about_blocks(job: Job, options: RuntimeOptions, memory: MemoryPlan) -> Iterator[str]:
    used, every, asked = memory.transformer.blocks, job.sizes.blocks, asked_blocks(options)
    if options.blocks_to_swap != AUTO and asked != used:
        why = "the model has no more" if asked > every else "fewer do not fit"
        yield f"blocks_to_swap: {asked} asked, {used} used, {why}"
    if options.blocks_to_swap == AUTO and not options.auto_hardware_tuning and used:
        yield f"blocks_to_swap: without automatic tuning none, but the job would not fit; {used} used"


def _about_copies(job: Job, options: RuntimeOptions, memory: MemoryPlan, room: Room) -> Iterator[str]:
    swap = memory.transformer
    if not swap.blocks:
        yield from _idle(options, FOR_SWAPPED, "while no block is swapped")
        return
    if options.num_cuda_streams > constants.MOST_STREAMS and swap.streams == constants.MOST_STREAMS:
        is_asked = options.num_cuda_streams != OPTION_FIELDS["num_cuda_streams"].default
        if is_asked or not options.auto_hardware_tuning:
            yield (
                f"num_cuda_streams: {options.num_cuda_streams} asked, {swap.streams} used, more gain nothing"
            )
    if not swap.asynchronous:
        others = ("num_cuda_streams", "prefetch_blocks", "enable_dram_optimization")
        yield from _idle(options, others, "without enable_cuda_optimization")
    elif swap.slots <= options.prefetch_blocks:
        yield (
            f"prefetch_blocks: {options.prefetch_blocks} asked, {swap.slots - 1} used, more slots do not fit"
        )
    wants_pinned = swap.asynchronous and options.enable_dram_optimization
    swapped = swapped_bytes(job.sizes, memory)
    if wants_pinned and swapped > room.pinned:
        yield (
            f"{gigabytes(room.pinned)} of the {gigabytes(swapped)} of swapped blocks can be page-locked in "
            "main memory; the rest is copied more slowly"
        )


def _about_resident(job: Job, options: RuntimeOptions, memory: MemoryPlan, room: Room) -> Iterator[str]:
    if options.offload_img_emb and not job.sizes.image_embedding:
        yield "offload_img_emb has no effect: this model embeds no picture"
    if options.vram_threshold_percent == AUTO:
        return
    least = least_weights(job, memory)
    if least > room.weights:
        yield (
            f"vram_threshold_percent {options.vram_threshold_percent} leaves {gigabytes(room.weights)} for "
            f"weights, the model takes {gigabytes(least)} at the least"
        )


def _about_tiling(options: RuntimeOptions, memory: MemoryPlan) -> Iterator[str]:
    if options.vae_tiling == "on" and not memory.decode_tile:
        yield "vae_tiling has no effect: the picture is no larger than a tile"
