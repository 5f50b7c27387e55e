"""What SageAttention 2 computes: queries and keys in INT8, probabilities and values in FP8 or in FP16.

From the papers (SageAttention2, arXiv:2411.10958, and SageAttention2++, arXiv:2505.21136): the mean of all
keys is taken off the keys; a scale for each 32 queries (of a warp, in tiles of 128) and each 64 keys, amax /
127; the values in e4m3 with a scale per channel; probabilities relative to the running row maximum, in e4m3
under the one scale 1 / 448. With FP16 values the probabilities are FP16 too, without scales.

From the package: the mean of the keys is rounded to the dtype of the arguments. The package's scale per
thread is finer than that per warp, which it uses on Blackwell. Chosen here: sums in float32, where the
kernels have 22 bits or FP16 within a tile; their V scale of 2.25 instead of 448, which FP16 sums need, rounds
the same but for tiny values.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import pad

from tools.emulation.formats import LARGEST_E4M3, quantize_int8, round_e4m3
from tools.emulation.tiles import TiledHead, attend_heads, attend_tiles, hide_filling
from wanvideo.quantization.nvfp4_layout import roundup

QUERY_ROWS, KEY_ROWS = 32, 64  # tokens that share a scale

Prepare = Callable[[Tensor], tuple[Tensor, Tensor]]


def attend_fp8(query: Tensor, key: Tensor, value: Tensor, *, smooths_keys: bool = True) -> Tensor:
    """INT8 and FP8: softmax(q k^T / sqrt(head_dim)) v over (batch, tokens, heads, head_dim)."""
    return _attend((query, key, value), _fp8_values, _fp8_chances, smooths_keys)


def attend_fp16(query: Tensor, key: Tensor, value: Tensor, *, smooths_keys: bool = True) -> Tensor:
    """INT8 and FP16: softmax(q k^T / sqrt(head_dim)) v over (batch, tokens, heads, head_dim)."""
    return _attend((query, key, value), _fp16_values, _to_fp16, smooths_keys)


def _attend(
    states: tuple[Tensor, Tensor, Tensor],
    prepare: Prepare,
    round_chances: Callable[[Tensor], Tensor],
    smooths_keys: bool,
) -> Tensor:
    """`prepare` gives a head's rounded values (tokens, head_dim) and what the result is multiplied by."""

    def head(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        values, scale = prepare(value.float())
        filled = pad(values, (0, 0, 0, -values.shape[0] % KEY_ROWS))

        def weigh(chances: Tensor, columns: slice) -> Tensor:
            return round_chances(chances) @ filled[columns]

        return attend_tiles(_prepared(query, key, weigh, smooths_keys)) * scale

    return attend_heads(head, *states)


def _prepared(
    query: Tensor, key: Tensor, weigh: Callable[[Tensor, slice], Tensor], smooths_keys: bool
) -> TiledHead:
    keys, scale = key.shape[0], query.shape[1] ** -0.5
    mean = key.mean(dim=0, keepdim=True).float() if smooths_keys else 0.0
    filled = pad(key.float() - mean, (0, 0, 0, -keys % KEY_ROWS))
    query_codes, query_scale = quantize_int8(query, QUERY_ROWS)
    key_codes, key_scale = quantize_int8(filled, KEY_ROWS)

    def scores(rows: slice, columns: slice) -> Tensor:
        products = query_codes[rows] @ key_codes[columns].T  # whole numbers below 2^24: exact
        scaled = products * (query_scale[rows] * key_scale[columns].T * scale)
        return hide_filling(scaled, columns.start, keys)

    return TiledHead(
        scores=scores,
        weigh=weigh,
        queries=query.shape[0],
        keys=roundup(keys, KEY_ROWS),
        key_block=KEY_ROWS,
    )


def _fp8_values(value: Tensor) -> tuple[Tensor, Tensor]:
    size = value.abs().amax(dim=0)
    scale = torch.where(size > 0, size / LARGEST_E4M3, 1.0)
    return round_e4m3(value / scale), scale


def _fp8_chances(chances: Tensor) -> Tensor:
    return round_e4m3(chances * LARGEST_E4M3) / LARGEST_E4M3


def _fp16_values(value: Tensor) -> tuple[Tensor, Tensor]:
    return _to_fp16(value), value.new_ones(())


def _to_fp16(values: Tensor) -> Tensor:
    return values.half().float()
