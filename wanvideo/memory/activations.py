"""Bytes that a model needs beside its weights while it works. Formulas from the code of `models`, checked
against measured peaks.
"""

from wanvideo.attention.sage3 import uses_block_mean
from wanvideo.geometry import latent_frames
from wanvideo.memory import constants
from wanvideo.memory.work import Job, Work
from wanvideo.memory_plan import MemoryPlan
from wanvideo.models.vae_tiles import DECODE_BYTES_PER_PIXEL, ENCODE_BYTES_PER_PIXEL, tile_grid

FP32 = 4


def transformer_bytes(job: Job, memory: MemoryPlan) -> int:
    """The peak of a step beside the weights: where query and key are rotated, where they attend, or in the
    feed-forward.

    Query, key, value and result are those of all tokens whatever the chunk is; all else is made for one chunk
    at a time. Each pass that goes along keeps its tokens, and with a step cache each pass of a step what the
    blocks added to them.
    """
    sizes, work = job.sizes, job.work
    tokens = work.tokens
    chunk = min(memory.chunk_tokens or tokens, tokens)
    state = tokens * sizes.dim * sizes.itemsize
    passes = work.most_passes if memory.passes_together else 1
    kept = (passes + work.most_passes * job.cache.kept + job.cache.passing) * state
    given = state if chunk == tokens else 0  # in chunks a block writes over it
    in_fp32 = constants.FP32_COPIES * FP32 * chunk * sizes.dim
    copies = constants.EXACT_COPIES if job.backend.fallback is None else constants.OTHER_COPIES
    made = chunk * sizes.dim * sizes.itemsize
    # Query, key and value of a chunk, and with several chunks those of all tokens that they are put into.
    rotating = (constants.ATTENTION_STATES - 1) * (made + (state if chunk < tokens else 0)) + in_fp32
    attending = int((constants.ATTENTION_STATES + copies) * state) + _attention_extra(job)
    if job.joined:  # in one piece: query and key, once rotated, do not make way before the value does
        rotating += made
        attending += 2 * state if chunk == tokens else 0
    peak = max(rotating, attending, given + in_fp32, given + _feed_forward_bytes(job, chunk))
    return kept + peak + sizes.dense_weight + _always(work)


def _feed_forward_bytes(job: Job, chunk: int) -> int:
    """Its input and hidden states; in low precision what it multiplies, too."""
    sizes, hidden = job.sizes, chunk * job.sizes.ffn_dim
    quantized = hidden if sizes.low_precision else 0
    return (chunk * sizes.dim + constants.HIDDEN_COPIES * hidden) * sizes.itemsize + quantized


def _attention_extra(job: Job) -> int:
    """Of the speaker map, and of SageAttention 3's correction."""
    tokens, extra = job.work.tokens, 0
    if job.work.speakers > 1:
        extra += 2 * FP32 * tokens * min(constants.MAP_HEADS * constants.HEAD_DIM, job.sizes.dim)
    if job.backend.has_block_mean and uses_block_mean(job.place):
        heads = job.sizes.dim // constants.HEAD_DIM
        extra += FP32 * heads * -(-tokens // constants.MEAN_TOKENS_A_BLOCK) * tokens
    return extra


def _always(work: Work) -> int:
    latents = latent_frames(work.frames) * work.pixels // 64 * 16 * FP32
    return (
        constants.WORKSPACE_BYTES + constants.ROTARY_BYTES * work.tokens + constants.LATENT_COPIES * latents
    )


def decode_bytes(job: Job, tile: int) -> int:
    """Of the VAE while it decodes a window."""
    pieces = constants.PIECE_BYTES_PER_PIXEL * job.work.pixels
    return _vae_bytes(job, tile, constants.DECODE_RESERVED * DECODE_BYTES_PER_PIXEL) + pieces


def encode_bytes(job: Job, tile: int) -> int:
    """Of the VAE while it encodes."""
    return _vae_bytes(job, tile, constants.ENCODE_RESERVED * ENCODE_BYTES_PER_PIXEL)


def _vae_bytes(job: Job, tile: int, per_pixel: float) -> int:
    pixels = max(part.pixels for part in tile_grid(job.work.height, job.work.width, tile))
    share = 1.0 if job.sizes.vae_itemsize == FP32 else constants.HALF_VAE_BYTES
    return int(pixels * per_pixel * job.sizes.vae_width * share)
