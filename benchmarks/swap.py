"""Transformers of the 14B model's size whose last blocks are streamed in, beside the same ones resident."""

import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch._dynamo.utils
from torch import Tensor

from benchmarks.measuring import (
    GIB,
    HostPeak,
    device,
    host_gib,
    milliseconds,
    peak_gib,
    phase,
    reset_peak,
    wait,
)
from benchmarks.modes import REPEATS
from benchmarks.report import Report, Row
from benchmarks.swap_models import LORA, TALK, TEXT, build_model, forward_pass
from wanvideo.compiled_blocks import compiled_blocks
from wanvideo.hardware import Hardware
from wanvideo.memory_plan import SwapPlan
from wanvideo.models.transformer import WanTransformer
from wanvideo.placement.residence import Residence
from wanvideo.registry import quantization_modes

SWAPPED, TALK_SWAPPED = (0, 1, 20, 40), (0, 10, 20, 40)
EAGER, COMPILED = "eager", "compiled"
PINNED_BYTES = 1 << 40  # all that is swapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A mode, how the blocks run, and of which model."""

    mode: str
    how: str = EAGER
    model: str = TEXT
    swapped: tuple[int, ...] = SWAPPED


VARIANTS = (
    Variant(mode="disabled"),
    Variant(mode="fp8_e4m3fn_scaled_fast"),
    Variant(mode="fp4_scaled"),
    Variant(mode="disabled", how=COMPILED),
    Variant(mode="fp8_e4m3fn_scaled_fast", how=COMPILED),
    Variant(mode="fp8_e4m3fn_scaled_fast", model=LORA),
    Variant(mode="fp4_scaled", model=TALK, swapped=TALK_SWAPPED),
)


class Swaps:
    """Measures one variant with more and more blocks swapped; the model is built when it is first needed."""

    def __init__(self, variant: Variant, *, quick: bool) -> None:
        self._variant, self._quick = variant, quick
        self._host_before = host_gib()[0]
        self._residence: Residence[WanTransformer] | None = None
        self._dressed = ExitStack()
        self._call: Callable[[], Tensor]
        self._exact: Tensor

    @torch.no_grad()
    def measure(self, blocks: int) -> Row:
        """Times and memory with so many blocks swapped; whether the output is that of the resident model."""
        residence = self._residence or self._build()
        swap = SwapPlan(blocks=blocks, pinned_bytes=PINNED_BYTES)
        with HostPeak() as host:
            begun = time.perf_counter()
            residence.settle(swap)
            wait()
            seconds = time.perf_counter() - begun
            reset_peak()
            with residence.running(swap):
                same = torch.equal(self._call(), self._exact)
                spent = milliseconds(self._call, warm_ups=1, repeats=REPEATS)
                peak, copied = peak_gib(), _copied(self._call)
        return {
            "identical": same,
            "graphs": torch._dynamo.utils.counters["stats"]["unique_graphs"] or None,
            "ms": spent,
            "peak_gib": peak,
            **copied,
            "seconds_to_settle": seconds,
            "host_weights_gib": residence.host_bytes / GIB,
            "host_peak_gib": host.own_gib - self._host_before,
        }

    def close(self) -> None:
        """The blocks are no longer compiled."""
        self._dressed.close()

    def _build(self) -> Residence[WanTransformer]:
        with phase(f"building the model ({self._variant.model}, {self._variant.mode}, {self._variant.how})"):
            mode = quantization_modes()[self._variant.mode]
            model = build_model(self._variant.model, mode, quick=self._quick)
            torch._dynamo.utils.counters.clear()
            if self._variant.how == COMPILED:
                backend = "inductor" if device() == "cuda" else EAGER  # at tiny size
                self._dressed.enter_context(
                    compiled_blocks(model.blocks, print, backend=backend, falls_back=False)
                )
            self._call = forward_pass(self._variant.model, model, quick=self._quick)
            self._exact = self._call()
        self._residence = Residence(model, device(), blocks=list(model.blocks))
        return self._residence


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:  # noqa: ARG001 - a part
    """A row for each variant and number of swapped blocks. `only`: modes, models, "eager" or "compiled"."""
    for variant in VARIANTS:
        if only and not {variant.mode, variant.how, variant.model} & set(only):
            continue
        swaps = Swaps(variant, quick=quick)
        for blocks in variant.swapped:
            key = {"model": variant.model, "mode": variant.mode, "how": variant.how, "swapped": blocks}
            if not report.has(key):
                report.add(key, partial(swaps.measure, blocks))
        swaps.close()
        del swaps
        reset_peak()


def _copied(call: Callable[[], object]) -> Row:
    """What one call copies between card and main memory, as the card's trace tells; nothing without one."""
    if device() == "cpu":
        call()
        return {}
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        call()
        wait()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(file))
        return copied_in(json.loads(file.read_text("utf-8"))["traceEvents"])


def copied_in(events: list[Row]) -> Row:
    """Sums over the copies of a trace; empty for one without a kernel, which saw nothing."""
    if not any(event.get("cat") == "kernel" for event in events):
        return {}
    copies = [event for event in events if event.get("cat") == "gpu_memcpy"]

    def total(direction: str) -> int:
        return sum(event["args"]["bytes"] for event in copies if direction in event["name"])

    return {"to_card_gb": total("HtoD") / 1e9, "to_host_mb": total("DtoH") / 1e6}
