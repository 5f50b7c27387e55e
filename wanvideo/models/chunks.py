"""A function of rows, applied to some of them at a time: less memory for what it makes in between."""

from collections.abc import Callable

import torch
from torch import Tensor


def in_chunks(
    function: Callable[..., Tensor | tuple[Tensor, ...]],
    rows: tuple[Tensor, ...],
    size: int,
    into: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """`function` of tensors (B, length, ...), at most `size` of their rows at a time, 0 for all at once.

    Each result (B, rows, ...) comes back whole. In several chunks, the first result is written into `into`,
    if it is given, which may be one of the `rows`.
    """
    length = rows[0].shape[1]
    if not size or length <= size:
        return _as_tuple(function(*rows))
    whole: tuple[Tensor, ...] = ()
    for first in range(0, length, size):
        parts = _as_tuple(function(*(row[:, first : first + size] for row in rows)))
        if not whole:
            whole = tuple(_room(part, length) for part in (parts if into is None else parts[1:]))
            whole = whole if into is None else (into, *whole)
        for target, part in zip(whole, parts, strict=True):
            target[:, first : first + size] = part
    return whole


def _as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


def _room(part: Tensor, length: int) -> Tensor:
    return torch.empty(part.shape[0], length, *part.shape[2:], dtype=part.dtype, device=part.device)
