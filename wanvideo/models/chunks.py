"""A function of rows, applied to some of them at a time: less memory for what it makes in between."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

Rows: TypeAlias = Callable[..., Tensor | tuple[Tensor, ...]]


def in_chunks(
    function: Rows,
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
    return _one_by_one(function, rows, size, () if into is None else (into,))


@torch.compiler.disable(recursive=False)  # type: ignore[untyped-decorator]
def _one_by_one(
    function: Rows, rows: tuple[Tensor, ...], size: int, whole: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """The loop stays out of compiled code, which would have every chunk in it; `function` is compiled."""
    length = rows[0].shape[1]
    for first in range(0, length, size):
        chunk = (row[:, first : first + size] for row in rows)
        whole = _written(whole, _as_tuple(function(*chunk)), first, length)
    return whole


def _written(
    whole: tuple[Tensor, ...], parts: tuple[Tensor, ...], first: int, length: int
) -> tuple[Tensor, ...]:
    """`whole` with the parts in their place. On return nothing holds them: the next need their memory."""
    whole = (*whole, *(_room(part, length) for part in parts[len(whole) :]))
    for target, part in zip(whole, parts, strict=True):
        target[:, first : first + part.shape[1]] = part
    return whole


def _as_tuple(result: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return (result,) if isinstance(result, Tensor) else result


def _room(part: Tensor, length: int) -> Tensor:
    return torch.empty(part.shape[0], length, *part.shape[2:], dtype=part.dtype, device=part.device)
