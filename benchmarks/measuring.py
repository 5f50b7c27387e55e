"""What every part measures with: the card's own clock, a reference in fp32, errors, memory."""

import gc
import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

GIB = 2**30
QUERIES_AT_ONCE = 4096  # of a reference: scores, should they be written out, and the mask stay small
TOKENS_AT_ONCE = 2048  # of two results that are compared in float64


def device() -> str:
    """Where everything runs: the card if there is one."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def milliseconds(call: Callable[[], Any], *, warm_ups: int = 2, repeats: int = 7) -> float:
    """Median over single calls; on a card between two CUDA events."""
    for _ in range(warm_ups):
        call()
    return statistics.median(_once(call) for _ in range(repeats))


def _once(call: Callable[[], Any]) -> float:
    if device() == "cpu":
        begun = time.perf_counter()
        call()
        return (time.perf_counter() - begun) * 1e3
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    call()
    end.record()
    end.synchronize()
    spent: float = begin.elapsed_time(end)
    return spent


def wait() -> None:
    """Until the card has done what it was told. Raises RuntimeError when it can't work any more."""
    if device() == "cuda":
        torch.cuda.synchronize()


def reset_peak() -> None:
    """Give back what is free; the peak is counted from here."""
    if device() == "cuda":
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib() -> float | None:
    """The most that was reserved on the card since `reset_peak`; None without a card."""
    return torch.cuda.max_memory_reserved() / GIB if device() == "cuda" else None


def errors(value: Tensor, exact: Tensor) -> dict[str, float]:
    """Of `value` against `exact`, both (batch, tokens, ...): relative L2, cosine, largest absolute error;
    all sums in float64. Raises ValueError for another shape and for numbers that are not finite.
    """
    if value.shape != exact.shape:
        raise ValueError(f"the result has the shape {tuple(value.shape)} instead of {tuple(exact.shape)}")
    sums = torch.zeros(4, dtype=torch.float64, device=exact.device)
    largest = torch.zeros((), dtype=torch.float64, device=exact.device)
    for one, other in zip(
        value.split(TOKENS_AT_ONCE, dim=1), exact.split(TOKENS_AT_ONCE, dim=1), strict=True
    ):
        one, other = one.double(), other.double()
        away = one - other
        sums += torch.stack(
            [away.square().sum(), (one * other).sum(), one.square().sum(), other.square().sum()]
        )
        largest = torch.maximum(largest, away.abs().max())
    squared, product, own, wanted = sums.tolist()
    if not math.isfinite(squared):
        raise ValueError("the result has numbers that are not finite")
    return {
        "relative_l2": math.sqrt(squared / wanted),
        "cosine": product / max(math.sqrt(own * wanted), 1e-300),
        "max_abs": float(largest),
    }


def exact_attention(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None = None) -> Tensor:
    """softmax(q k^T / sqrt(head_dim)) v over (batch, tokens, heads, head_dim) in fp32, head by head; `seen`
    (queries, keys) is true where attention is computed.
    """
    attended = torch.empty(query.shape, dtype=torch.float32, device=query.device)
    for head in range(query.shape[2]):
        one, keys, values = (
            states[:, :, head, None].float().transpose(1, 2) for states in (query, key, value)
        )
        for start in range(0, query.shape[1], QUERIES_AT_ONCE):
            rows = slice(start, start + QUERIES_AT_ONCE)
            mask = None if seen is None else seen[rows]
            part = scaled_dot_product_attention(one[:, :, rows], keys, values, attn_mask=mask)
            attended[:, rows, head] = part[:, 0]
    return attended
