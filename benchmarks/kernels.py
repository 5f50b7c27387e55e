"""Where the time of a forward pass goes: the card's kernels by kind, the longest by name."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch.autograd import DeviceType

from benchmarks.forwards import DENSE, EXACT_KINDS, as_compiled, our_call
from benchmarks.measuring import device, milliseconds, phase, reset_peak, wait
from benchmarks.modes import _inputs
from benchmarks.quickest_attention import DENSE_KINDS, middle_place, quickest
from benchmarks.random_model import TINY, WAN_14B, build
from benchmarks.report import Report, Row
from wanvideo.hardware import Hardware
from wanvideo.registry import quantization_modes

VARIANTS = (
    (DENSE, "compiled"),
    ("fp8_e4m3fn_scaled_fast", "compiled"),
    (DENSE, "eager"),
)
FUSED, OWN, ATTENTION, PRODUCTS, COPIES, REST = (
    "fused by the compiler",
    "own kernels over rows",
    "attention",
    "products",
    "copies",
    "the rest",
)
# Pieces of names, in this order: a fused kernel bears the names of all it stands for, and of its neighbours.
KINDS = {
    FUSED: ("triton_poi_", "triton_red_", "triton_per_"),
    OWN: ("norm_rotated", "norm_modulated", "rows_to_fp8"),
    ATTENTION: ("flash", "fmha", "sdpa", "attention", "cudnn_generated", "qk_int"),
    PRODUCTS: ("gemm", "nvjet", "cutlass", "cublas", "mm", "linear"),
    COPIES: ("memcpy", "memset", "copy_", "aten::copy"),
}
SHOWN = 14  # of the longest kernels
LONGEST_NAME = 90
log = logging.getLogger("benchmarks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """A kernel: all its calls in a forward pass, and their milliseconds."""

    name: str
    calls: int
    ms: float

    @property
    def kind(self) -> str:
        """What it does, as far as its name tells."""
        name = self.name.lower()
        return next((kind for kind, pieces in KINDS.items() if any(piece in name for piece in pieces)), REST)


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """For each variant a row of each kind, and of each of the longest kernels. `only`: modes, or "eager" or
    "compiled".
    """
    for mode, how in VARIANTS:
        key = {"mode": mode, "how": how}
        if (not only or {mode, how} & set(only)) and not report.has(key):
            _measure(report, key, machine, quick=quick)


def _measure(report: Report, key: Row, machine: Hardware, *, quick: bool) -> None:
    whole, kernels = 0.0, list[Spent]()

    def measured() -> Row:
        nonlocal whole, kernels
        whole, kernels = profile_forward(**key, machine=machine, quick=quick)
        return {
            "kernel": "a forward pass, not traced",
            "ms": whole,
            "calls": sum(one.calls for one in kernels),
        }

    report.add({**key, "kind": "all"}, measured)
    for kind, found in by_kind(kernels):
        row = {"calls": found.calls, "ms": found.ms, "share": found.ms / whole, "kernel": "together"}
        report.add({**key, "kind": kind}, partial(dict, row))
    for index, found in enumerate(sorted(kernels, key=lambda one: -one.ms)[:SHOWN]):
        row = {"kind": found.kind, "calls": found.calls, "ms": found.ms, "share": found.ms / whole}
        report.add({**key, "index": index + 1}, partial(dict, row, kernel=found.name[:LONGEST_NAME]))


@torch.no_grad()
def profile_forward(mode: str, how: str, machine: Hardware, *, quick: bool) -> tuple[float, list[Spent]]:
    """Milliseconds of a forward pass without a profiler, and the kernels of another one with it. Dense
    weights with the quickest exact attention, others with the quickest of all.
    """
    reset_peak()
    size = TINY if quick else WAN_14B
    with phase(f"building the model ({mode}, {how})"):
        model, _ = build(size, quantization_modes()[mode])
    latents, prompt = _inputs(size)
    kinds = EXACT_KINDS if mode == DENSE else DENSE_KINDS
    attend = quickest(machine, size, latents, only_required=False, kinds=kinds).attend
    model.set_attention(lambda _: attend, middle_place(latents))
    call = our_call(model, latents, prompt)
    with as_compiled(model) if how == "compiled" else nullcontext():
        spent = milliseconds(call, warm_ups=2, repeats=3)
        with torch.profiler.profile(activities=_activities()) as profile:
            call()
            wait()
    return spent, _kernels(profile.key_averages())


def by_kind(kernels: Iterable[Spent]) -> Iterator[tuple[str, Spent]]:
    """Kind -> the sums over its kernels; a kind without kernels is left out."""
    kernels = list(kernels)
    for kind in (*KINDS, REST):
        of_kind = [one for one in kernels if one.kind == kind]
        if of_kind:
            calls, spent = sum(one.calls for one in of_kind), sum(one.ms for one in of_kind)
            yield kind, Spent(name=kind, calls=calls, ms=spent)


def _activities() -> list[torch.profiler.ProfilerActivity]:
    on_card = device() == "cuda"
    return [torch.profiler.ProfilerActivity.CUDA if on_card else torch.profiler.ProfilerActivity.CPU]


def _kernels(events: Iterable[Any]) -> list[Spent]:
    """Of a card what ran on it; of a CPU the operators, without those inside them."""
    if device() == "cpu":
        return [Spent(name=one.key, calls=one.count, ms=one.self_cpu_time_total / 1e3) for one in events]
    ran = (one for one in events if one.device_type == DeviceType.CUDA)
    return [Spent(name=one.key, calls=one.count, ms=one.self_device_time_total / 1e3) for one in ran]
