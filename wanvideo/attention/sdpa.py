"""Exact attention through torch: the backend every other one falls back to, on any device."""

import json
import logging
import re
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from wanvideo.cache_folder import cache_folder
from wanvideo.hardware import Hardware
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

# Torch's kernels, by the names of `torch.nn.attention.SDPBackend`; of two about as fast the first runs.
PROVIDERS = ("CUDNN_ATTENTION", "FLASH_ATTENTION", "EFFICIENT_ATTENTION")
CLEARLY_FASTER = 0.95  # of the other's time; a smaller gain may be noise
MEASURED_SHAPE = (1, 8, 8192, 128)  # (batch, heads, tokens, head_dim): long enough that speed has settled
WARM_UPS, REPEATS = 3, 5


def attend(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
    """softmax(q k^T / sqrt(head_dim)) v over (batch, tokens, heads, head_dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    attended = scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return attended.transpose(1, 2)


def fastest(milliseconds: Mapping[str, float]) -> str | None:
    """The first of PROVIDERS that no later one clearly beats; None when none was measured."""
    best: str | None = None
    for name in PROVIDERS:
        if name in milliseconds and (
            best is None or milliseconds[name] < CLEARLY_FASTER * milliseconds[best]
        ):
            best = name
    return best


@cache
def fastest_attend() -> AttentionFunction:
    """`attend` with the kernel that is fastest on this card; without a card `attend` itself.

    It is measured once per card and torch, and kept on disk: measured anew, a close decision could fall the
    other way, and the same seed would no longer give the same video to the last bit.
    """
    import torch

    if not torch.cuda.is_available():
        return attend
    _settle_order()
    about = re.sub(r"[^\w.+-]+", "_", f"{torch.cuda.get_device_name()}-{torch.__version__}")
    milliseconds = kept_times(cache_folder("sdpa") / f"{about}.json", _measure)
    chosen = fastest(milliseconds)
    log.info("exact attention runs %s; ms: %s", chosen or "torch's own choice", milliseconds)
    return attend if chosen is None else preferring(chosen)


def _settle_order() -> None:
    """Let torch decide now which kernel it tries first: it puts cuDNN there, on the cards where that wins, at
    the first attention of a process. If that one stood inside `sdpa_kernel`, the order from before would come
    back at its end, for good, and every attention without a wish of its own would run a slower kernel.
    """
    import torch

    states = torch.zeros(1, 1, 8, 64, dtype=torch.float16, device="cuda")
    torch.nn.functional.scaled_dot_product_attention(states, states, states)


def kept_times(file: Path, measure: Callable[[], dict[str, float]]) -> dict[str, float]:
    """Milliseconds by provider, from the file; measured and written where it is missing or damaged."""
    try:
        times = json.loads(file.read_text(encoding="utf-8"))
        return {str(name): float(spent) for name, spent in times.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        log.info("torch's attention kernels are timed: %s", error)
    milliseconds = measure()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(milliseconds), encoding="utf-8")
    except OSError as error:
        log.warning("%s can't be kept: %s", file.name, error)
    return milliseconds


def _measure() -> dict[str, float]:
    return {name: spent for name in PROVIDERS if (spent := _milliseconds(name)) is not None}


def preferring(provider: str) -> AttentionFunction:
    """`attend` that asks one of PROVIDERS first, and the others for what it does not take (fp32, say)."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    others = [name for name in PROVIDERS if name != provider]
    order = [SDPBackend.__members__[name] for name in (provider, *others, "MATH")]

    def attend_preferring(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
        with sdpa_kernel(order, set_priority=True):
            return attend(query, key, value)

    attend_preferring.__qualname__ = f"{scaled_dot_product_attention.__qualname__} {provider}"
    return attend_preferring


def _milliseconds(provider: str) -> float | None:
    """Time of one attention on the card; None where it has no such kernel."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.nn.functional import scaled_dot_product_attention

    dtype = torch.bfloat16 if torch.cuda.get_device_capability() >= (8, 0) else torch.float16
    states = torch.randn(MEASURED_SHAPE, dtype=dtype, device="cuda", generator=torch.Generator("cuda"))
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    try:
        with sdpa_kernel(SDPBackend.__members__[provider]), torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns why a kernel is refused, once per rule
            for index in range(WARM_UPS + REPEATS):
                if index == WARM_UPS:
                    begin.record()
                scaled_dot_product_attention(states, states, states)
            end.record()
            end.synchronize()
    except RuntimeError as error:
        log.info("%s does not run here: %s", provider, error)
        return None
    spent: float = begin.elapsed_time(end)
    return spent / REPEATS


def _unavailable_reason(hardware: Hardware) -> str | None:  # noqa: ARG001 - runs everywhere
    return None


def _load(place: AttentionPlace) -> AttentionFunction:  # noqa: ARG001 - the same everywhere
    return fastest_attend()


BACKENDS = (
    AttentionBackend(
        name="sdpa",
        label="Exact (PyTorch SDPA)",
        priority=0,
        fallback=None,
        unavailable_reason=_unavailable_reason,
        load=_load,
    ),
)
