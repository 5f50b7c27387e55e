"""What SageAttention 3 computes on the FP4 tensor cores of Blackwell, in exact arithmetic.

From the paper (arXiv:2505.11594, sections 3.1 to 3.3 and algorithm 1): the mean of all keys is taken off the
keys and the mean of a block of queries off the queries, and q_mean k^T is added to the scores in high
precision. Query, key and value become NVFP4 in blocks of 1 x 16, along head_dim for query and key and along
the tokens for the value. Probabilities are scaled to [0, 448 * 6] before they become NVFP4, so that the e4m3
scales use their whole range.

From the package (sageattn3, `sageattn3_blackwell`), where the paper leaves it open: tiles of 128 queries and
128 keys; a block of queries is 128 tokens, or all of them without `per_block_mean`; tokens are filled up with
zeros to a multiple of 128, which the means of the queries count and the mean of the keys does not; means,
smoothed states and the correction are rounded to the dtype of the arguments, so float32 arguments give the
paper's high precision; a probability is divided by its block's scale before that is rounded to e4m3; the
first scale is FirstScale.RUNNING.

Chosen here: sums in float32 in torch's order, exp and not the card's exp2.
"""

from dataclasses import dataclass
from enum import Enum

import torch
from torch import Tensor
from torch.nn.functional import pad

from tools.emulation.formats import LARGEST_E4M3, round_e2m1, round_e4m3, round_nvfp4
from tools.emulation.tiles import TiledHead, attend_heads, attend_tiles, hide_filling
from wanvideo.quantization.nvfp4_layout import BLOCK, LARGEST_CODE, roundup

TILE = 128
WHOLE_RANGE = LARGEST_E4M3 * LARGEST_CODE


class FirstScale(Enum):
    """What the probabilities of a row are scaled by before they become NVFP4, so that 1 becomes 448 * 6.

    RUNNING: a constant, as they are relative to the running row maximum (the package). BLOCK: their own
    largest in each tile (the paper). NONE: they are not, the one-level scheme that the paper argues against.
    """

    RUNNING = "running"
    BLOCK = "block"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fp4Settings:
    """Parts of the method; the defaults are those of `sageattn3_blackwell`."""

    per_block_mean: bool = True
    smooths_keys: bool = True
    smooths_queries: bool = True
    first_scale: FirstScale = FirstScale.RUNNING
    key_block: int = TILE


PACKAGE = Fp4Settings()


def attend(query: Tensor, key: Tensor, value: Tensor, settings: Fp4Settings = PACKAGE) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v over (batch, tokens, heads, head_dim), head_dim a multiple of 16."""

    def head(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return attend_tiles(_prepared(query, key, value, settings))

    return attend_heads(head, query, key, value)


def round_chances(chances: Tensor, first_scale: FirstScale) -> Tensor:
    """Probabilities (rows, keys) of a tile, keys a multiple of 16, as the second matmul sees them."""
    if first_scale is FirstScale.NONE:
        return _round_blocks(chances)
    factor = torch.full_like(chances[:, :1], WHOLE_RANGE)
    if first_scale is FirstScale.BLOCK:
        peak = chances.amax(dim=1, keepdim=True)
        factor = torch.where(peak > 0, factor / peak, factor)
    return _round_blocks(chances * factor) / factor


def _prepared(query: Tensor, key: Tensor, value: Tensor, settings: Fp4Settings) -> TiledHead:
    """(tokens, head_dim) of one head, quantized."""
    queries, keys, scale = query.shape[0], key.shape[0], query.shape[1] ** -0.5
    if settings.smooths_keys:
        key = key - key.mean(dim=0, keepdim=True)
    query, key, value = _filled(query), _filled(key), _filled(value)
    correction: Tensor | None = None
    if settings.smooths_queries:
        query, correction = _smoothed(query, key, settings.per_block_mean)
    group = TILE if settings.per_block_mean else query.shape[0]
    coded_query, coded_key = round_nvfp4(query), round_nvfp4(key)
    coded_value = round_nvfp4(value.T.contiguous()).T

    def scores(rows: slice, columns: slice) -> Tensor:
        products = coded_query[rows] @ coded_key[columns].T
        if correction is not None:
            groups = torch.arange(rows.start, rows.stop, device=products.device) // group
            products += correction[groups, columns]
        return hide_filling(products * scale, columns.start, keys)

    def weigh(chances: Tensor, columns: slice) -> Tensor:
        return round_chances(chances, settings.first_scale) @ coded_value[columns]

    return TiledHead(
        scores=scores, weigh=weigh, queries=queries, keys=roundup(keys, TILE), key_block=settings.key_block
    )


def _smoothed(query: Tensor, key: Tensor, per_block_mean: bool) -> tuple[Tensor, Tensor]:
    """(queries without the mean of their group, what it adds to the scores: (groups, keys) in float32)."""
    groups = query.float().unflatten(0, (-1, TILE if per_block_mean else query.shape[0]))
    mean = groups.mean(dim=1)
    kept = mean.to(query.dtype)
    taken = mean if per_block_mean else kept.float()  # the package rounds a block's mean only afterwards
    smooth = (groups - taken.unsqueeze(1)).to(query.dtype).flatten(0, 1)
    return smooth, (kept @ key.T).float()


def _round_blocks(chances: Tensor) -> Tensor:
    blocks = chances.unflatten(1, (-1, BLOCK))
    scale = blocks.amax(dim=2, keepdim=True) / LARGEST_CODE
    codes = round_e2m1(torch.where(scale > 0, blocks / scale, 0.0).flatten(1))
    rounded: Tensor = (codes.unflatten(1, (-1, BLOCK)) * round_e4m3(scale)).flatten(1)
    return rounded


def _filled(states: Tensor) -> Tensor:
    return pad(states, (0, 0, 0, -states.shape[0] % TILE))
