"""Attention in tiles with a running softmax, as the fused kernels compute it: what they share.

A head is done in blocks of queries and of keys, so that no matrix of tokens x tokens is ever held.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

QUERIES_AT_ONCE = 1024  # whole blocks of 128; with 128 keys a tile takes half a megabyte

Scores: TypeAlias = Callable[[slice, slice], Tensor]
Weigh: TypeAlias = Callable[[Tensor, slice], Tensor]
Head: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class TiledHead:
    """One head, prepared. A tile is a slice of the queries and one of the keys.

    `scores` gives q k^T / sqrt(head_dim) of a tile in float32, -inf where a key is filling. `weigh` gets
    exp(score - running row maximum), between 0 and 1, and the slice of the keys, and gives their product with
    the values, (queries, head_dim). `queries` counts the real ones, `keys` is a multiple of `key_block`.
    """

    scores: Scores
    weigh: Weigh
    queries: int
    keys: int
    key_block: int


def attend_tiles(head: TiledHead) -> Tensor:
    """(queries, head_dim) in float32."""
    starts = range(0, head.queries, QUERIES_AT_ONCE)
    return torch.cat(
        [_attend_rows(head, slice(start, min(start + QUERIES_AT_ONCE, head.queries))) for start in starts]
    )


def attend_heads(head: Head, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """`head` on each head of (batch, tokens, heads, head_dim), one after the other. A new contiguous tensor
    of the shape and dtype of the query; the arguments stay as they are.
    """
    attended = query.new_empty(query.shape)
    for batch in range(query.shape[0]):
        for index in range(query.shape[2]):
            attended[batch, :, index] = head(*(states[batch, :, index] for states in (query, key, value)))
    return attended


def hide_filling(scores: Tensor, first: int, keys: int) -> Tensor:
    """Scores of a tile whose first key is number `first`, with -inf from the key `keys` on."""
    filling = torch.arange(first, first + scores.shape[1], device=scores.device) >= keys
    return scores.masked_fill(filling, -math.inf)


def _attend_rows(head: TiledHead, rows: slice) -> Tensor:
    """The last keys come first, as in SageAttention 3; there the order decides which maximum is running.

    The sum that divides is of the probabilities before they are rounded, as in the kernels.
    """
    peak: Tensor | None = None
    for start in reversed(range(0, head.keys, head.key_block)):
        columns = slice(start, start + head.key_block)
        scores = head.scores(rows, columns)
        here = scores.amax(dim=1, keepdim=True)
        higher = here if peak is None else torch.maximum(peak, here)
        chances = (scores - higher).exp()
        part, weight = head.weigh(chances, columns), chances.sum(dim=1, keepdim=True)
        if peak is None:
            attended, total = part, weight
        else:
            shrink = (peak - higher).exp()
            attended, total = attended * shrink + part, total * shrink + weight
        peak = higher
    return attended / total
