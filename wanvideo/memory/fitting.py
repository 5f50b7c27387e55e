"""The search for a memory plan that fits: fewest swapped blocks, largest chunks and tiles, in that order.

Chunks cost next to nothing and come before swapping; swapping hides behind the computing and comes before
passes one by one, and those before copies that nothing hides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from wanvideo.memory import constants
from wanvideo.memory.activations import decode_bytes, encode_bytes
from wanvideo.memory.room import Room
from wanvideo.memory.stages import (
    denoise_bytes,
    resident_bytes,
    stage_bytes,
    text_bytes,
    weights_bytes,
)
from wanvideo.memory.work import Job
from wanvideo.memory_plan import MemoryPlan, SwapPlan

EVERY_TILE = (0, *constants.VAE_TILES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What the options ask of the plan: at least `blocks` swapped, `start` for all that is not searched.

    `staging_share`: of the free margin that slots may take. `tiles` may be used, the preferred first, 0 is
    the whole picture.
    """

    blocks: int = 0
    start: MemoryPlan = MemoryPlan()
    staging_share: float = 1.0
    tiles: tuple[int, ...] = EVERY_TILE


def fit(job: Job, wishes: Wishes, room: Room) -> MemoryPlan:
    """The first plan that fits; where none does, the smallest."""
    memory = _fit_transformer(job, wishes, room)
    if room.on_card:
        memory = replace(memory, text_encoder=_fit_text_encoder(job, memory.text_encoder, room))
    return _fit_vae(job, memory, wishes.tiles, room)


def peak_bytes(job: Job, memory: MemoryPlan) -> int:
    """Over all stages."""
    return max(stage_bytes(job, memory).values())


def least_weights(job: Job, start: MemoryPlan) -> int:
    """Of the diffusion model on the card at the least: every block swapped, one slot."""
    swap = replace(start.transformer, blocks=job.sizes.blocks, slots=1)
    return weights_bytes(job.sizes, replace(start, transformer=swap))


def _fit_transformer(job: Job, wishes: Wishes, room: Room) -> MemoryPlan:
    ceiling = max(room.weights, least_weights(job, wishes.start)) if room.on_card else room.budget
    memory = wishes.start
    for memory in _candidates(job, wishes, swaps=room.on_card):
        weights = weights_bytes(job.sizes, memory)
        staging = weights - resident_bytes(job.sizes, memory)
        spare = staging / wishes.staging_share - staging
        if weights <= ceiling and denoise_bytes(job, memory) + spare <= room.budget:
            break
    return memory


def _candidates(job: Job, wishes: Wishes, *, swaps: bool) -> Iterator[MemoryPlan]:
    """In order of preference; the last one takes least."""
    start, every = wishes.start, job.sizes.blocks
    chunks = [0, *(size for size in constants.CHUNKS if size < job.work.tokens)]
    together = job.work.most_passes > 1
    ways = [(blocks, start.transformer.slots, together and blocks > 0) for blocks in _counts(wishes, every)]
    ways += [(every, start.transformer.slots, False)] if together else []
    ways += [(every, slots, False) for slots in range(start.transformer.slots - 1, 0, -1)]
    for blocks, slots, passes_together in ways if swaps else [(0, start.transformer.slots, False)]:
        swap = replace(start.transformer, blocks=blocks, slots=slots)
        for chunk in chunks:
            yield replace(start, transformer=swap, chunk_tokens=chunk, passes_together=passes_together)


def _counts(wishes: Wishes, every: int) -> range:
    return range(min(wishes.blocks, every), every + 1)


def _fit_text_encoder(job: Job, start: SwapPlan, room: Room) -> SwapPlan:
    """None or all of its layers are swapped: they are passed once for each prompt, and all have to be copied
    to the card at least once anyway.
    """
    resident = replace(start, blocks=0)
    fits = text_bytes(job.sizes, resident) <= room.budget and job.sizes.text_encoder <= room.weights
    return resident if fits else replace(start, blocks=job.sizes.text_layers)


def _fit_vae(job: Job, memory: MemoryPlan, tiles: tuple[int, ...], room: Room) -> MemoryPlan:
    """Tiles before the diffusion model steps aside, for that takes two copies of it."""
    free = room.budget - job.sizes.vae
    beside = free - resident_bytes(job.sizes, memory)
    between = job.work.encodes_between

    def choose(needs: Callable[[Job, int], int], left: int) -> tuple[int, bool]:
        for tile in tiles:
            if needs(job, tile) <= left:
                return tile, True
        return tiles[-1], False

    decode, decodes = choose(decode_bytes, beside)
    encode, encodes = choose(encode_bytes, beside if between else free)
    if memory.steps_aside or not decodes or (between and not encodes):
        memory = replace(memory, steps_aside=room.on_card)
        decode, encode = choose(decode_bytes, free)[0], choose(encode_bytes, free)[0]
    return replace(memory, decode_tile=decode, encode_tile=encode)
