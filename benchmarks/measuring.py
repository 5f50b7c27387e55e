"""What every part measures with: the card's own clock, a reference in fp32, errors, memory."""

import gc
import logging
import math
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

GIB = 2**30
QUERIES_AT_ONCE = 4096  # of a reference: scores, should they be written out, and the mask stay small
TOKENS_AT_ONCE = 2048  # of two results that are compared in float64
STATUS = Path("/proc/self/status")
OWN_MEMORY = ("RssAnon", "RssShmem")  # pages of mapped files are the system's to take back
log = logging.getLogger("benchmarks")


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


class HostPeak:
    """The most main memory that this process has while it is open, sampled by a thread, and what it had at
    the start: GiB of its own, and with the pages of mapped files.
    """

    def __init__(self, seconds: float = 0.005) -> None:
        self._seconds, self._over = seconds, threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self.before, self.own_gib, self.whole_gib = host_gib(), 0.0, 0.0

    def __enter__(self) -> "HostPeak":
        self._watcher.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._watcher.join()
        self._look()

    @property
    def added_gib(self) -> float:
        """Of its own, above the start."""
        return self.own_gib - self.before[0]

    def _watch(self) -> None:
        while not self._over.wait(self._seconds):
            self._look()

    def _look(self) -> None:
        own, whole = host_gib()
        self.own_gib, self.whole_gib = max(self.own_gib, own), max(self.whole_gib, whole)


def host_gib() -> tuple[float, float]:
    """(main memory of this process's own, that with mapped files) in GiB; both the same where the system does
    not tell them apart.
    """
    if not STATUS.exists():
        import psutil

        resident = psutil.Process().memory_info().rss / GIB
        return resident, resident
    lines = (line.split() for line in STATUS.read_text("ascii").splitlines() if line.startswith("Rss"))
    parts = {words[0].rstrip(":"): int(words[1]) * 1024 / GIB for words in lines}
    return sum(parts[name] for name in OWN_MEMORY), sum(parts.values())


@contextmanager
def phase(name: str) -> Iterator[None]:
    """Log how long it takes."""
    begun = time.perf_counter()
    log.info("    %s ...", name)
    yield
    wait()
    log.info("    %s: %.1f s", name, time.perf_counter() - begun)


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
