"""FP8 weights and activations: e4m3 and e5m2, with one scale per tensor, one per row, or none.

A weight is payload * scale. The scale is amax / format maximum, so that the largest element meets the
format's largest value: a bare cast to e4m3 loses small weights to underflow.
"""

import torch
from torch import Tensor

from wanvideo.quantization.stored import StoredWeight

DTYPES = {"e4m3": torch.float8_e4m3fn, "e5m2": torch.float8_e5m2}
ROWS_AT_ONCE = 128  # keeps the fp32 copy that quantizing needs far below the weight itself
ELEMENTS_ON_A_CARD = 8 << 20  # at once: with fewer, starting the kernels takes longer than they do
FP8_ELEMENTS_ON_A_CARD = 32 << 20  # 128 MB in fp32; a square weight of the 14B model is one piece of work


def amax(values: Tensor, *, per_row: bool = False) -> Tensor:
    """The largest magnitude in fp32, () or for each row (rows, 1), without a copy of `values`."""
    if torch.compiler.is_compiling():  # nothing is copied there either, and one reduction is quicker than two
        return (values.abs().amax(dim=1, keepdim=True) if per_row else values.abs().amax()).float()
    low, high = values.aminmax(dim=1, keepdim=True) if per_row else values.aminmax()
    return torch.maximum(-low, high).float().abs()  # abs: of zeros alone, -low is -0, and 1 / -0 is -inf


def divided(values: Tensor, number: float) -> Tensor:
    """values / number to the last bit, on every device: a card makes of division by a Python number a product
    with its inverse, and weights quantized there would differ from those of the CPU.
    """
    return values / torch.full((), number, dtype=values.dtype, device=values.device)


def rows_at_once(weight: Tensor, elements: int = ELEMENTS_ON_A_CARD) -> int:
    """How many rows of a weight (out, in) are quantized at a time: no value depends on it. On a card they
    have `elements`.
    """
    if weight.device.type == "cpu":
        return ROWS_AT_ONCE
    return max(ROWS_AT_ONCE, elements // max(1, weight.shape[1]))


def quantize(weight: Tensor, format: str, *, per_row: bool) -> StoredWeight:
    """A dense (out, in) weight in `format`, with a scale for each row (out, 1) or one for the tensor."""
    dtype = DTYPES[format]
    largest = torch.finfo(dtype).max
    size = amax(weight, per_row=per_row)
    scale = torch.where(size > 0, divided(size, largest), 1.0)
    payload = torch.empty(weight.shape, dtype=dtype, device=weight.device)
    step = rows_at_once(weight, FP8_ELEMENTS_ON_A_CARD)
    scales = scale.expand(weight.shape[0], 1)  # not (): the division would be in the dtype of the weight
    for rows, row_scales, result in zip(
        weight.split(step), scales.split(step), payload.split(step), strict=True
    ):
        scaled = rows / row_scales  # in fp32
        result.copy_(scaled.clamp_(-largest, largest))  # a cast beyond the maximum gives NaN
    out_features, in_features = weight.shape
    return StoredWeight(
        format=format, tensors={"weight": payload, "weight_scale": scale}, shape=(out_features, in_features)
    )


def dequantize(stored: StoredWeight, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) in `dtype`; each element is rounded once."""
    weight = stored.tensors["weight"].to(dtype)  # exact: bf16, fp16 and fp32 hold every fp8 value
    scale = stored.tensors.get("weight_scale")
    return weight if scale is None else weight.mul_(scale.reshape(-1, 1))


def most_inverse(dtype: torch.dtype) -> float:
    """The largest inverse of a scale that activations of that dtype are multiplied with."""
    return 2.0**15 if dtype == torch.float16 else 2.0**100


def quantize_activations(rows: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Activations (M, K) -> e4m3 (M, K) and the fp32 scale that multiplies it: (M, 1), or (1, 1) when the
    file's own `scale` of one element is given. `rows` stay as they are.
    """
    largest = torch.finfo(torch.float8_e4m3fn).max
    if scale is None:
        inverse = largest / amax(rows, per_row=True)
    else:
        inverse = scale.float().reshape(1, 1).reciprocal()
    # The product is formed in the dtype of `rows`: an fp32 copy of all tokens would be gigabytes. So the
    # inverse must be one that dtype holds, also for a row of zeros, and the scale must undo that very number.
    inverse = inverse.clamp(max=most_inverse(rows.dtype)).to(rows.dtype)
    scaled = (rows * inverse).clamp_(-largest, largest).to(torch.float8_e4m3fn)
    return scaled.contiguous(), inverse.float().reciprocal()
