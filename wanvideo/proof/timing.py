"""How long a call takes, beside others."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch

WARM_UPS, REPEATS = 2, 7


def interleaved(calls: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Medians in milliseconds; the calls take turns, so that a card that warms up slows them all."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(WARM_UPS + REPEATS):
        for name, call in calls.items():
            spent[name].append(_milliseconds(call))
    return {name: statistics.median(times[WARM_UPS:]) for name, times in spent.items()}


def _milliseconds(call: Callable[[], Any]) -> float:
    """Of one call, with what the host does for it."""
    _wait_for_card()
    begun = time.perf_counter()
    call()
    _wait_for_card()
    return (time.perf_counter() - begun) * 1e3


def _wait_for_card() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
