"""What the linear of a mode does, step by step, with the scales inside the product and behind it.

The fast fp8 path gives `torch._scaled_mm` a scale for each row of both operands. Some cards refuse that;
there the scales multiply the product in passes of their own: what those cost.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor, nn

from benchmarks.measuring import errors, milliseconds
from benchmarks.report import Row
from wanvideo.quantization import fp8, nvfp4
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.matmul import Multiply, dequantized, four_to_eight, scaled_fp8
from wanvideo.quantization.stored import StoredWeight


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Activations (M, in), a dense weight (out, in), a bias, all bf16; and what the dense linear gives."""

    rows: Tensor
    weight: Tensor
    bias: Tensor
    product: Tensor

    def tflops(self, spent: float) -> float:
        """TFLOP/s of a product that takes so many milliseconds."""
        return 2 * self.rows.shape[0] * self.weight.numel() / spent / 1e9

    def measure(self, call: Callable[[], Tensor]) -> Row:
        """Of a whole linear: the error against the dense one, then the time."""
        found = errors(call()[None], self.product[None])
        spent = milliseconds(call)
        return {"ms": spent, "tflops": self.tflops(spent), **found}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """Of the fp8 product: values (M, in) with a scale per token (M, 1), and a weight (out, in) in fp8 with
    its scale, of one element, of one per row, or none.
    """

    values: Tensor
    per_token: Tensor
    weight: Tensor
    scale: Tensor | None

    @property
    def per_row(self) -> Tensor:
        """The weight's scale as (1, out), whatever it was."""
        ones = torch.ones(1, self.weight.shape[0], device=self.weight.device)
        return ones if self.scale is None else ones * self.scale.float().reshape(1, -1)


Step: TypeAlias = Callable[[QLinear, Case], Row]


def steps(linear: nn.Linear, case: Case) -> Iterator[tuple[str, Callable[[], Row]]]:
    """(step, how to measure it) of that linear's path; none for a dense one, which is a single step."""
    if isinstance(linear, QLinear):
        for name, measure in _STEPS.get(linear.multiply, {}).items():
            yield name, partial(measure, linear, case)


def _operands(linear: QLinear, case: Case) -> Operands:
    stored = linear.stored()
    values, per_token = fp8.quantize_activations(case.rows)
    scale: Tensor | None
    if linear.multiply is four_to_eight:
        weight, scale = nvfp4.to_fp8(stored)
    else:
        weight, scale = stored.tensors["weight"], stored.tensors.get("weight_scale")
    return Operands(values=values, per_token=per_token, weight=weight, scale=scale)


def _dequantize(linear: QLinear, case: Case) -> Row:
    stored = linear.stored()
    return {"ms": milliseconds(lambda: FORMATS[stored.format].dequantize(stored, case.rows.dtype))}


def _weight_to_fp8(linear: QLinear, case: Case) -> Row:  # noqa: ARG001 - every step gets both
    stored: StoredWeight = linear.stored()
    return {"ms": milliseconds(lambda: nvfp4.to_fp8(stored))}


def _quantize_activations(linear: QLinear, case: Case) -> Row:  # noqa: ARG001 - every step gets both
    return {"ms": milliseconds(lambda: fp8.quantize_activations(case.rows))}


def _multiply(linear: QLinear, case: Case) -> Row:
    """With one scale per tensor, as on cards that refuse others."""
    has = _operands(linear, case)
    one = torch.full((), 1 / torch.finfo(has.values.dtype).max, device=has.values.device)
    spent = milliseconds(lambda: _scaled_mm(has, (one, one), None))
    return {"ms": spent, "tflops": case.tflops(spent)}


def _scale(linear: QLinear, case: Case) -> Row:
    """The passes behind the product: tokens, rows where the weight has more than one scale, bias."""
    has, product = _operands(linear, case), case.product.clone()
    several = has.scale is not None and has.scale.numel() > 1
    # Ones, so that the product stays finite, however often it is scaled.
    per_token, per_row = torch.ones_like(has.per_token), torch.ones_like(has.per_row)

    def call() -> None:
        product.mul_(per_token)
        if several:
            product.mul_(per_row)
        product.add_(case.bias)

    return {"ms": milliseconds(call)}


def _multiply_and_scale(linear: QLinear, case: Case) -> Row:
    """Scales per token and per row, and the bias, inside the product."""
    has = _operands(linear, case)
    scales, bias = (has.per_token, has.per_row), case.bias
    fused, ours = _scaled_mm(has, scales, bias), linear(case.rows)
    return {
        **case.measure(lambda: _scaled_mm(has, scales, bias)),
        "differs_from_ours": errors(fused[None], ours[None])["relative_l2"],
        "equal_share": int((fused == ours).count_nonzero()) / ours.numel(),
    }


def _scaled_mm(has: Operands, scales: tuple[Tensor, Tensor], bias: Tensor | None) -> Tensor:
    product: Tensor = torch._scaled_mm(
        has.values,
        has.weight.t(),
        scale_a=scales[0],
        scale_b=scales[1],
        bias=bias,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
    return product


_FP8: dict[str, Step] = {
    "activations to fp8": _quantize_activations,
    "product": _multiply,
    "scales and bias behind": _scale,
    "product, scales inside": _multiply_and_scale,
}
_STEPS: dict[Multiply, dict[str, Step]] = {
    dequantized: {"weight to bf16": _dequantize},
    scaled_fp8: _FP8,
    four_to_eight: {"weight to fp8": _weight_to_fp8, **_FP8},
}
