"""The layer norm of rows, scaled and shifted, in their own dtype or in fp8: a row is read once.

The compiler reads a row of 5120 channels three times: 1.6 times as long, with fp8 twice as long. Where it
adds a residual in the same kernel its own is as good.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from wanvideo.kernels.fp8_store import LARGEST, empty_fp8, store_fp8

WARPS = 4  # for a row of 5120 channels; 8 and 16 took longer


def norm_modulated(rows: Tensor, scale: Tensor, shift: Tensor, eps: float) -> Tensor:
    """norm(rows) * (1 + scale) + shift: rows (B, N, dim), scale and shift (B or 1, 1, dim) in fp32 -> the
    shape and dtype of `rows`. All is in fp32 and rounded once, at the end.
    """
    flat = rows.flatten(0, 1)
    out = torch.empty(flat.shape, dtype=rows.dtype, device=rows.device)
    _launch(rows, flat, (scale, shift), (out, out), eps, most_inverse=None)  # there are no fp8 scales
    return out.view(rows.shape)


def norm_modulated_to_fp8(
    rows: Tensor, scale: Tensor, shift: Tensor, eps: float, most_inverse: float
) -> tuple[Tensor, Tensor]:
    """The same, rounded to the dtype of `rows`, as e4m3 (B * N, dim) and the fp32 scales that multiply it
    (B * N, 1), as `rows_to_fp8` makes them.
    """
    flat = rows.flatten(0, 1)
    out = empty_fp8(flat)
    _launch(rows, flat, (scale, shift), out, eps, most_inverse)
    return out


def _launch(
    rows: Tensor,
    flat: Tensor,
    modulation: tuple[Tensor, Tensor],
    out: tuple[Tensor, Tensor],
    eps: float,
    most_inverse: float | None,
) -> None:
    scale, shift = (part.expand(rows.shape[0], -1, -1).contiguous() for part in modulation)
    _norm_modulated[flat.shape[0],](
        flat, scale, shift, *out, rows.shape[1],
        STRIDE=flat.stride(0), EPS=eps, LARGEST=LARGEST, MOST=most_inverse or 0.0,
        TO_FP8=most_inverse is not None,
        DIM=flat.shape[1], BLOCK=triton.next_power_of_2(flat.shape[1]), num_warps=WARPS,
    )  # fmt: skip


@triton.jit
def _norm_modulated(
    rows, scale, shift, out, fp8_scales, rows_of_one,
    STRIDE: tl.constexpr, EPS: tl.constexpr, LARGEST: tl.constexpr, MOST: tl.constexpr,
    TO_FP8: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # STRIDE and numbers are known to the compiler: see `rows_to_fp8`.
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < DIM
    dtype: tl.constexpr = rows.dtype.element_ty
    x = tl.load(rows + row * STRIDE + channel, mask=inside, other=0.0).to(tl.float32)
    x = tl.where(inside, x - tl.sum(x, 0) / DIM, 0.0)
    x *= tl.rsqrt(tl.sum(x * x, 0) / DIM + EPS)
    modulation = row // rows_of_one * DIM + channel
    x *= 1.0 + tl.load(scale + modulation, mask=inside, other=0.0)
    x = (x + tl.load(shift + modulation, mask=inside, other=0.0)).to(dtype)
    if TO_FP8:
        store_fp8(x.to(tl.float32), out, fp8_scales, row, channel, inside, dtype, MOST, LARGEST, DIM)
    else:
        tl.store(out + row * DIM + channel, x, mask=inside)
