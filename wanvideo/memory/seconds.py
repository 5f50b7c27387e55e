"""How long each stage of a job takes at given rates. Loading models is left out."""

from wanvideo.memory import constants
from wanvideo.memory.flops import block_flops
from wanvideo.memory.rates import DENSE, Rates
from wanvideo.memory.remarks import pinned_share
from wanvideo.memory.stages import CONDITION, DECODE, DENOISE, PICTURE, SPEECH, TEXT, swapped_bytes
from wanvideo.memory.work import Job, Work
from wanvideo.memory_plan import MemoryPlan
from wanvideo.models.vae_tiles import tile_grid

TERA, GIGA = 1e12, 1e9
FP32 = 4


def stage_seconds(job: Job, memory: MemoryPlan, rates: Rates, bandwidth_share: float) -> dict[str, float]:
    """Stage -> seconds over the whole job. `bandwidth_share`: of the copy speed that is counted on."""
    windows = job.work.windows
    between = job.work.first_frames + (windows - 1) * job.work.later_frames
    steps = windows * _steps_seconds(job, memory, rates, bandwidth_share)
    if memory.steps_aside:
        steps += 2 * windows * job.sizes.transformer / (rates.pageable * GIGA)
    return {
        TEXT: _text_seconds(job, memory, rates),
        SPEECH: _speech_seconds(job, rates),
        PICTURE: _encode_seconds(job, memory, rates, job.work.picture_frames),
        CONDITION: _encode_seconds(job, memory, rates, between),
        DENOISE: steps,
        DECODE: windows * _decode_seconds(job, memory, rates),
    }


def block_seconds(job: Job, memory: MemoryPlan, rates: Rates) -> float:
    """One pass through one block whose weights are on the card. What compiling takes is left out."""
    flops, sizes = block_flops(job), job.sizes
    exact = rates.attention[""]
    computing = (
        flops.linears / rates.matmul.get(job.matmul, rates.matmul[DENSE])
        + flops.self_attention / rates.attention.get(job.backend.name, exact)
        + flops.cross_attention / exact
    )
    moved = job.work.tokens * sizes.dim * constants.ELEMENTWISE_BYTES
    if sizes.dequantizes:  # again for each chunk
        chunks = -(-job.work.tokens // memory.chunk_tokens) if memory.chunk_tokens else 1
        moved += chunks * sizes.block_weights * constants.DEQUANTIZE_BYTES
    share = constants.COMPILED_SHARE
    faster = share.get(job.matmul, share[""]) if job.compiled else 1.0
    return faster * (computing / TERA + moved / (rates.memory * GIGA))


def copy_seconds(job: Job, memory: MemoryPlan, rates: Rates, bandwidth_share: float) -> float:
    """Bringing one swapped block to the card. What can't be page-locked comes more slowly."""
    swapped = swapped_bytes(job.sizes, memory)
    pinned = pinned_share(memory, swapped)
    each = pinned / rates.pinned + (1 - pinned) / rates.pageable
    return job.sizes.block / GIGA * each / bandwidth_share


def _steps_seconds(job: Job, memory: MemoryPlan, rates: Rates, bandwidth_share: float) -> float:
    """Of one window. Copies made ahead hide behind the computing, if they are faster; others add to it."""
    computing = block_seconds(job, memory, rates)
    copying = copy_seconds(job, memory, rates, bandwidth_share)
    swap, total = memory.transformer, 0.0
    for step, passes in enumerate(job.work.passes):
        if step in job.cache.skipped:
            continue
        total += (job.sizes.blocks - swap.blocks) * passes * computing
        turns, at_once = (1, passes) if memory.passes_together else (passes, 1)
        once = at_once * computing
        ahead = swap.asynchronous and swap.slots > 1
        total += swap.blocks * turns * (max(once, copying) if ahead else once + copying)
    return total


def _text_seconds(job: Job, memory: MemoryPlan, rates: Rates) -> float:
    sizes, swapped = job.sizes, memory.text_encoder.blocks * job.sizes.text_layer
    numbers = sizes.text_layers * sizes.text_layer / sizes.itemsize
    computing = 2 * numbers * constants.PROMPT_TOKENS / (rates.matmul[DENSE] * TERA)
    return job.work.prompts * (computing + swapped / (rates.pageable * GIGA))


def _speech_seconds(job: Job, rates: Rates) -> float:
    numbers = job.sizes.speech_encoder / FP32
    return 2 * numbers * constants.SPEECH_STEPS * job.work.speech_seconds / (rates.cpu * TERA)


def _encode_seconds(job: Job, memory: MemoryPlan, rates: Rates, frames: int) -> float:
    per_pixel = constants.ENCODE_FLOPS_PER_PIXEL * _vae_work(job)
    return frames * _tiled_pixels(job.work, memory.encode_tile) * per_pixel / (rates.convolution * TERA)


def _decode_seconds(job: Job, memory: MemoryPlan, rates: Rates) -> float:
    per_pixel = constants.DECODE_FLOPS_PER_PIXEL * _vae_work(job)
    pixels = job.work.frames * _tiled_pixels(job.work, memory.decode_tile)
    return pixels * per_pixel / (rates.convolution * TERA)


def _vae_work(job: Job) -> float:
    """Of the published VAE in fp32."""
    share = 1.0 if job.sizes.vae_itemsize == FP32 else constants.HALF_VAE_TIME
    return job.sizes.vae_width**2 * share


def _tiled_pixels(work: Work, tile: int) -> int:
    """Of a frame, with those that tiles share counted more than once."""
    return sum(part.pixels for part in tile_grid(work.height, work.width, tile))
