"""What kernels over rows that give fp8 have in common."""

import torch
import triton
import triton.language as tl
from torch import Tensor

VALUES = torch.float8_e4m3fn
LARGEST = torch.finfo(VALUES).max


def empty_fp8(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Room for the values of `rows` (M, K), and for their fp32 scales (M, 1)."""
    scales = torch.empty((rows.shape[0], 1), dtype=torch.float32, device=rows.device)
    return torch.empty(rows.shape, dtype=VALUES, device=rows.device), scales


@triton.jit
def store_fp8(
    x, values, scales, row, channel, inside, dtype: tl.constexpr,
    MOST: tl.constexpr, LARGEST: tl.constexpr, DIM: tl.constexpr,
):  # fmt: skip
    """A row x (BLOCK), fp32 numbers that `dtype` holds, as `fp8.quantize_activations` has it."""
    inverse = tl.minimum(LARGEST / tl.max(tl.abs(x), 0), MOST).to(dtype).to(tl.float32)
    scaled = (x * inverse).to(dtype).to(tl.float32)
    scaled = tl.minimum(tl.maximum(scaled, -LARGEST), LARGEST)
    tl.store(values + row * DIM + channel, scaled.to(values.dtype.element_ty), mask=inside)
    tl.store(scales + row, 1.0 / inverse)
