"""One linear at the 14B model's sizes in every mode, and the steps that its time is made of."""

from functools import partial

import torch
from torch import nn

from benchmarks.linear_steps import Case, steps
from benchmarks.measuring import device, reset_peak
from benchmarks.modes import Variant, path_of, variants
from benchmarks.random_model import DTYPE, draw
from benchmarks.report import REASON, Report, Row
from wanvideo.checkpoint.quantized_linears import dense_found, stored_for
from wanvideo.hardware import Hardware
from wanvideo.registry import QuantizationMode

TOKENS, TINY_TOKENS = 32_760, 96
SIZES, TINY_SIZES = ((5120, 5120), (13824, 5120), (5120, 13824)), ((256, 128),)  # (out, in)
WHOLE = "linear"
NAME = "blocks.0.ffn.net.2"  # is drawn as a big linear


@torch.no_grad()
def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """A row for each mode and for each step of its path, at each size."""
    tokens = TINY_TOKENS if quick else TOKENS
    for size in TINY_SIZES if quick else SIZES:
        reset_peak()
        case = make_case(tokens, size)
        for variant in variants(machine, only):
            key = {"out": size[0], "in": size[1], "tokens": tokens, "mode": variant.name}
            _run_variant(report, key, variant, case)


def _run_variant(report: Report, key: Row, variant: Variant, case: Case) -> None:
    whole = {**key, "step": WHOLE}
    if not report.has(whole):
        report.add(whole, partial(_whole, variant, case))
    if report.failed(whole):
        return
    for step, measure in steps(_build(variant.mode, case), case):
        if not report.has({**key, "step": step}):
            report.add({**key, "step": step}, measure)


def make_case(tokens: int, size: tuple[int, int]) -> Case:
    """Some channels of the activations stand out too, as behind a modulated norm."""
    generator = torch.Generator(device()).manual_seed(0)
    rows = torch.randn(tokens, size[1], generator=generator, dtype=DTYPE, device=device())
    rows[:, ::512] *= 10
    weight = draw(f"{NAME}.weight", torch.Size(size))
    bias = draw(f"{NAME}.bias", torch.Size(size[:1]))
    return Case(rows=rows, weight=weight, bias=bias, product=nn.functional.linear(rows, weight, bias))


def _build(mode: QuantizationMode, case: Case) -> nn.Linear:
    stored = stored_for(mode, dense_found(case.weight).stored, device())
    return mode.make_linear(stored, case.bias, DTYPE)


def _whole(variant: Variant, case: Case) -> Row:
    if variant.reason is not None:
        return {REASON: variant.reason}
    linear = _build(variant.mode, case)
    found = {"dense": variant.mode.store is None, "multiply": path_of(linear)}
    return {**found, **case.measure(lambda: linear(case.rows))}
