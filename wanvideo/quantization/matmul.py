"""x W^T + bias for a stored weight: dequantized, or on the fp8 or FP4 tensor cores.

Every function takes activations (M, K) with M > 0, which it leaves as they are, and returns a new (M, N).
"""

import logging
from collections.abc import Callable
from functools import cache
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import linear

from wanvideo.quantization import fp8, nvfp4
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.stored import StoredWeight

log = logging.getLogger(__name__)

Multiply: TypeAlias = Callable[[Tensor, StoredWeight, Tensor | None], Tensor]


def choose_multiply(stored: StoredWeight, *, fast: bool, fp4: bool = False) -> Multiply:
    """The way to multiply with this weight. `fast` asks for the tensor cores of fp8, and `fp4` with it for
    those of FP4 where the weight has its format; nothing here looks whether the machine has them.

    They take sizes that are multiples of 16; a weight of other sizes is dequantized.
    """
    if not fast or stored.format not in _FAST:
        return dequantized
    if stored.shape[0] % 16 or stored.shape[1] % 16:
        _say_once(f"a weight of {stored.shape[0]} x {stored.shape[1]} is dequantized: sizes must be 16 n")
        return dequantized
    # The FP4 kernel reads rows of whole 16 bytes, 32 elements.
    if fp4 and stored.format in _FP4 and stored.shape[1] % 32 == 0:
        return _FP4[stored.format]
    return _FAST[stored.format]


def dequantized(rows: Tensor, stored: StoredWeight, bias: Tensor | None) -> Tensor:
    """The weight becomes dense in the dtype of `rows` for this call."""
    return linear(rows, FORMATS[stored.format].dequantize(stored, rows.dtype), bias)


def scaled_fp8(rows: Tensor, stored: StoredWeight, bias: Tensor | None) -> Tensor:
    """Activations in e4m3, a scale for each token or the file's own, on the fp8 tensor cores."""
    activations = fp8.quantize_activations(rows, stored.tensors.get("input_scale"))
    return _fp8_product(activations, _own_fp8(stored), bias, rows.dtype)


def four_to_eight(rows: Tensor, stored: StoredWeight, bias: Tensor | None) -> Tensor:
    """NVFP4 weights become e4m3 for this call: half the memory of fp8 with the speed of its tensor cores."""
    return _fp8_product(fp8.quantize_activations(rows), nvfp4.to_fp8(stored), bias, rows.dtype)


def takes_fp8(own: Multiply, stored: StoredWeight) -> bool:
    """Whether `own` multiplies this weight with activations in e4m3 that have a scale for each token."""
    return own in _FP8_WEIGHTS and "input_scale" not in stored.tensors


def product_of_fp8(
    own: Multiply,
    activations: tuple[Tensor, Tensor],
    stored: StoredWeight,
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """`own`, where it `takes_fp8`, of activations of `dtype` as `fp8.quantize_activations` makes them."""
    return _fp8_product(activations, _FP8_WEIGHTS[own](stored), bias, dtype)


def scaled_nvfp4(rows: Tensor, stored: StoredWeight, bias: Tensor | None) -> Tensor:
    """Activations in NVFP4 too, with one tensor scale or the file's, on FP4 tensor cores."""
    import comfy_kitchen

    scale = stored.tensors.get("input_scale")
    if scale is None:
        scale = nvfp4.tensor_scale_of(rows)
    packed, blocks = comfy_kitchen.quantize_nvfp4(rows.contiguous(), scale, pad_16x=True)
    product = comfy_kitchen.scaled_mm_nvfp4(
        packed,
        stored.tensors["weight"],
        tensor_scale_a=scale,
        tensor_scale_b=stored.tensors["weight_scale_2"].float(),
        block_scale_a=blocks,
        block_scale_b=stored.tensors["weight_scale"],
        out_dtype=torch.float16 if rows.dtype == torch.float16 else torch.bfloat16,
    )
    dense: Tensor = product[: rows.shape[0]].to(rows.dtype)
    return dense if bias is None else dense.add_(bias)


def _own_fp8(stored: StoredWeight) -> tuple[Tensor, Tensor | None]:
    return stored.tensors["weight"], stored.tensors.get("weight_scale")


_FP8_WEIGHTS: dict[Multiply, Callable[[StoredWeight], tuple[Tensor, Tensor | None]]] = {
    scaled_fp8: _own_fp8,
    four_to_eight: nvfp4.to_fp8,
}
_FAST: dict[str, Multiply] = {"e4m3": scaled_fp8, "e5m2": scaled_fp8, "nvfp4": four_to_eight}
_FP4: dict[str, Multiply] = {"nvfp4": scaled_nvfp4}


def _fp8_product(
    activations: tuple[Tensor, Tensor],
    weight: tuple[Tensor, Tensor | None],
    bias: Tensor | None,
    dtype: torch.dtype,
) -> Tensor:
    """(values (M, K) e4m3, scale (M, 1) or (1, 1)) x (values (N, K) fp8, scale of 1 or N elements, or None).

    cuBLASLt wants the second operand column-major: the transposed VIEW of a contiguous (N, K). Scales of rows
    inside the product give bf16 alone, and some cards refuse them; there they multiply the result. Then both
    operands are divided by the largest value of their format inside the product: sums stay below K, which
    fp16 holds.
    """
    values, scale = activations
    weight_values, weight_scale = weight
    if dtype == torch.bfloat16 and takes_row_scales(values.device):
        factor = torch.ones((), device=values.device) if weight_scale is None else weight_scale.float()
        return torch._scaled_mm(
            values,
            weight_values.t(),
            scale_a=scale.expand(values.shape[0], 1).contiguous(),
            scale_b=factor.reshape(1, -1).expand(1, weight_values.shape[0]).contiguous(),
            bias=bias,
            out_dtype=dtype,
            use_fast_accum=True,
        )
    largest = torch.finfo(values.dtype).max, torch.finfo(weight_values.dtype).max
    product = torch._scaled_mm(
        values,
        weight_values.t(),
        scale_a=torch.full((), 1 / largest[0], device=values.device),
        scale_b=torch.full((), 1 / largest[1], device=values.device),
        out_dtype=dtype,
        use_fast_accum=True,
    )
    per_token, per_row = scale * largest[0], largest[1]
    if weight_scale is None or weight_scale.numel() == 1:
        per_token = (
            per_token * per_row * (1.0 if weight_scale is None else weight_scale.float().reshape(1, 1))
        )
        product.mul_(per_token)
    else:
        product.mul_(per_token).mul_(weight_scale.float().reshape(1, -1) * per_row)
    return product if bias is None else product.add_(bias)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def takes_row_scales(device: torch.device) -> bool:
    """Whether that card multiplies fp8 with a scale for each row and column: it is tried, once. cuBLASLt
    refuses it on sm 12.0.
    """
    return _has_multiplied(device)  # the compiler would look through a cache, and try with no card at all


@cache
def _has_multiplied(device: torch.device) -> bool:
    if device.type != "cuda":
        return False
    ones = torch.ones(32, 32, device=device).to(torch.float8_e4m3fn)
    scale = torch.ones(32, 1, device=device)
    try:
        torch._scaled_mm(ones, ones.t(), scale_a=scale, scale_b=scale.t(), out_dtype=torch.bfloat16)
    except RuntimeError as error:
        log.info("fp8 scales of rows multiply the result; inside the product: %s", error)
        return False
    return True


@cache
def _say_once(text: str) -> None:
    log.info(text)
