"""What to change after the memory ran out in a stage: a fixed ladder that never changes the result, rung by
rung down to the least memory.
"""

from dataclasses import replace

from wanvideo.memory import constants
from wanvideo.memory.stages import DECODE, DENOISE, TEXT
from wanvideo.memory_plan import MemoryPlan

CHUNK, LEAST_CHUNK = min(constants.CHUNKS), 2048  # tokens
MORE_BLOCKS = 4  # a rung swaps a quarter of the blocks more


def next_rung(memory: MemoryPlan, stage: str, blocks: int, text_layers: int) -> tuple[MemoryPlan, str] | None:
    """(the plan for another try, what changes in words), for a model of so many `blocks` and a text encoder
    of so many layers; None when nothing is left that would need less memory in that stage.
    """
    if stage == TEXT:
        return _text_rung(memory, text_layers)
    if stage == DENOISE:
        return _denoise_rung(memory, blocks)
    return _vae_rung(memory, stage)


def _text_rung(memory: MemoryPlan, layers: int) -> tuple[MemoryPlan, str] | None:
    swap = memory.text_encoder
    if swap.blocks < layers:
        changed = replace(memory, text_encoder=replace(swap, blocks=layers))
        return changed, f"all {layers} layers of the text encoder are swapped"
    if swap.slots > 1 and layers > 1:
        return replace(memory, text_encoder=replace(swap, slots=1)), "its layers are copied one at a time"
    return None


def _denoise_rung(memory: MemoryPlan, blocks: int) -> tuple[MemoryPlan, str] | None:
    """Chunks first, they cost least; then swapping, to the last block; then what slows swapping down, with
    the smallest chunks.

    Among chunks there is but one rung: below, self-attention makes the peak, which has all tokens.
    """
    swap, least = memory.transformer, replace(memory, chunk_tokens=LEAST_CHUNK)
    if not memory.chunk_tokens:
        return replace(memory, chunk_tokens=CHUNK), f"{CHUNK} tokens at a time"
    if swap.blocks < blocks:
        return _more_swapped(memory, blocks)
    if swap.slots > 1 and blocks > 1:
        return replace(least, transformer=replace(swap, slots=1)), "blocks are copied one at a time"
    if memory.passes_together:
        return replace(least, passes_together=False), "guidance passes go one after the other"
    return None


def _vae_rung(memory: MemoryPlan, stage: str) -> tuple[MemoryPlan, str] | None:
    """Of decoding, and of encoding in any other stage."""
    decodes = stage == DECODE
    tile = memory.decode_tile if decodes else memory.encode_tile
    smaller = next((size for size in constants.VAE_TILES if not tile or size < tile), 0)
    if smaller:
        changed = replace(memory, decode_tile=smaller) if decodes else replace(memory, encode_tile=smaller)
        return changed, f"the VAE works in tiles of {smaller} pixels"
    if not memory.steps_aside:
        return replace(memory, steps_aside=True), "the diffusion model leaves the card for the VAE"
    return None


def _more_swapped(memory: MemoryPlan, blocks: int) -> tuple[MemoryPlan, str]:
    """More than the slots they need on the card."""
    swap = memory.transformer
    step = max(-(-blocks // MORE_BLOCKS), swap.slots + 1 - swap.blocks)
    count = min(blocks, swap.blocks + step)
    changed = replace(memory, transformer=replace(swap, blocks=count))
    return changed, f"{count} of {blocks} blocks are swapped"
