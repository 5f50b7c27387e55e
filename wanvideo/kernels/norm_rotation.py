"""The norm of queries and keys and their rotation: each row is read once and written once.

Left to the compiler, the partner of each channel is a second read of two bytes: 1.7 times as long.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

WARPS = 4  # for a row of 5120 channels; 8 and 16 took longer


def norm_rotated(states: Tensor, weight: Tensor, eps: float, cos: Tensor, sin: Tensor) -> Tensor:
    """states (B, rows, dim), weight (dim); cos and sin (B or 1, rows, 1, head_dim / 2), fp32
    -> (B, rows, heads, head_dim). All is in fp32 and rounded once, at the end.
    """
    flat, half = states.flatten(0, 1), cos.shape[-1]
    out = torch.empty(flat.shape, dtype=states.dtype, device=states.device)
    _norm_rotated[flat.shape[0],](
        flat, weight, cos.contiguous(), sin.contiguous(), out, cos.shape[0] * cos.shape[1],
        STRIDE=flat.stride(0), EPS=eps, DIM=flat.shape[1], HALF=half,
        BLOCK=triton.next_power_of_2(flat.shape[1]), num_warps=WARPS,
    )  # fmt: skip
    return out.view(*states.shape[:2], -1, 2 * half)


@triton.jit
def _norm_rotated(
    states, weight, cos, sin, out, table_rows,
    STRIDE: tl.constexpr, EPS: tl.constexpr, DIM: tl.constexpr, HALF: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # STRIDE is known to the compiler, as is that rows start at whole vectors; EPS is, or it would be in fp64.
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < DIM
    values = tl.load(states + row * STRIDE + channel, mask=inside, other=0.0).to(tl.float32)
    values *= tl.rsqrt(tl.sum(values * values, 0) / DIM + EPS)
    values *= tl.load(weight + channel, mask=inside, other=0.0).to(tl.float32)
    even, odd = tl.split(tl.reshape(values, [BLOCK // 2, 2]))
    angle = (row % table_rows) * HALF + tl.arange(0, BLOCK // 2) % HALF
    c, s = tl.load(cos + angle), tl.load(sin + angle)
    turned = tl.reshape(tl.join(even * c - odd * s, odd * c + even * s), [BLOCK])
    tl.store(out + row * DIM + channel, turned.to(out.dtype.element_ty), mask=inside)
