"""The emulations as rows of the application's own tables, for the time of a `with`.

Each has a name of its own, so that nothing that was loaded or kept under the real one is mixed up with it.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from wanvideo.attention.kernel import Kernel, make_attention
from wanvideo.attention.sage3 import KERNEL, is_outer_step, uses_block_mean
from wanvideo.attention.sdpa import fastest_attend
from wanvideo.quantization.rows import runs_everywhere
from wanvideo.registry import (
    AttentionBackend,
    AttentionFunction,
    AttentionLoader,
    AttentionPlace,
    QuantizationMode,
    StoredWeight,
    attention_backends,
    quantization_modes,
)

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

PREFIX = "emulated_"
Option = TypeVar("Option", AttentionBackend, QuantizationMode)


@contextmanager
def emulated_attention() -> Iterator[None]:
    """Inside the `with` the table of attention backends has the rows `emulated_...` too."""
    with _added(attention_backends(), {row.name: row for row in _backends()}):
        yield


@contextmanager
def emulated_modes() -> Iterator[None]:
    """Inside the `with` the table of quantization modes has a row `emulated_...` for each that multiplies in
    low precision. For fp8 that is the mode itself: torch's fp8 product runs on a CPU too.

    Ask for them by name: "auto" may choose one on a card for which it is the best row there is.
    """
    with _added(quantization_modes(), {row.name: row for row in _modes()}):
        yield


@contextmanager
def _added(table: dict[str, Option], rows: Mapping[str, Option]) -> Iterator[None]:
    """Raises ValueError when a row is there already: the inner `with` would take it from the outer one."""
    if taken := table.keys() & rows.keys():
        raise ValueError(f"already in the table: {sorted(taken)}")
    table.update(rows)
    try:
        yield
    finally:
        for name in rows:
            del table[name]


def _modes() -> Iterator[QuantizationMode]:
    for real in quantization_modes().values():
        if real.fallback is None:
            continue
        wide = " (weights to fp8, as on sm 8.9 and 9.0)" if real.cores is not None else ""
        yield _mode(real, real.name, wide, real.make_linear)
        if real.cores is not None:
            yield _mode(real, f"{real.name}_w4a4", " (W4A4, as on FP4 cores)", _make_linear)


def _mode(
    real: QuantizationMode, name: str, what: str, make_linear: "Callable[..., nn.Linear]"
) -> QuantizationMode:
    return replace(
        real,
        name=f"{PREFIX}{name}",
        label=f"emulated: {real.name}{what}",
        aliases=(),
        near=(),
        unavailable_reason=runs_everywhere,
        cores=None,
        make_linear=make_linear,
    )


def _backends() -> tuple[AttentionBackend, ...]:
    return (
        _backend("sageattn", "", lambda _: _sage_fp16()),
        _backend("sageattn_3_fp8", "", lambda _: _sage_fp8()),
        _backend("sageattn_3", " (first and last step exact)", _load_outer_exact),
        _backend("sageattn_3_fp4", "", _load_fp4),
        # Torch's flex attention, the application's own way without spas_sage_attn, runs uncompiled on a CPU.
        _backend("radial_sage_attention", "", attention_backends()["radial_sage_attention"].load),
    )


def _backend(real: str, what: str, load: AttentionLoader) -> AttentionBackend:
    """Without a fallback it needs no trial, and the priority keeps "auto" away from it."""
    return replace(
        attention_backends()[real],
        name=f"{PREFIX}{real}",
        label=f"emulated: {real}{what}",
        aliases=(),
        priority=-100,
        fallback=None,
        unavailable_reason=runs_everywhere,
        load=load,
    )


def _load_fp4(place: AttentionPlace) -> AttentionFunction:
    return _fp4(uses_block_mean(place))


def _load_outer_exact(place: AttentionPlace) -> AttentionFunction:
    return fastest_attend() if is_outer_step(place) else _load_fp4(place)


@cache
def _fp4(per_block_mean: bool) -> AttentionFunction:
    """With the real kernel's limits and dtypes; what it can't take is computed exactly, as in the
    application.
    """
    from tools.emulation.fp4_attention import Fp4Settings, attend

    settings = Fp4Settings(per_block_mean=per_block_mean)

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
        return attend(query, key, value, settings)

    return _emulation(replace(KERNEL, heads_first=False), call)


@cache
def _sage_fp8() -> AttentionFunction:
    from tools.emulation.fp8_attention import attend_fp8

    return _emulation(Kernel(name="sageattn_3_fp8", head_dims=range(1, 129)), attend_fp8)


@cache
def _sage_fp16() -> AttentionFunction:
    from tools.emulation.fp8_attention import attend_fp16

    return _emulation(Kernel(name="sageattn", head_dims=range(1, 129)), attend_fp16)


def _emulation(kernel: Kernel, call: Callable[..., "Tensor"]) -> AttentionFunction:
    """Not a custom op: its name would stay registered."""
    return make_attention(replace(kernel, opaque=False), call, f"{PREFIX}{kernel.name}")


def _make_linear(stored: StoredWeight, bias: "Tensor | None", dtype: "torch.dtype") -> "nn.Linear":
    from tools.emulation.w4a4 import multiply_for
    from wanvideo.quantization.linear import QLinear, make_linear

    if stored.format == "nvfp4":
        return QLinear(stored, bias, dtype, multiply_for(stored))
    return make_linear(stored, bias, dtype, fast=True)
