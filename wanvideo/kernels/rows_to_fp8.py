"""The fp8 values of rows, or of their GELU, with a scale for each: a row is read once.

The compiler's own kernel takes 1.7 times as long for the 13824 channels of the feed-forward, twice as long
for 5120.
"""

import triton
import triton.language as tl
from torch import Tensor

from wanvideo.kernels.fp8_store import LARGEST, empty_fp8, store_fp8

SHORT_ROW = 8192  # channels; with more warps than these it took longer
WARPS = {True: 4, False: 8}


def rows_to_fp8(rows: Tensor, most_inverse: float, *, gelu: bool) -> tuple[Tensor, Tensor]:
    """rows (M, K) -> e4m3 (M, K) and the fp32 scales that multiply it (M, 1), of the rows or of gelu(rows) in
    its tanh form. The arithmetic of `fp8.quantize_activations`; no scale's inverse is above `most_inverse`.
    """
    count, dim = rows.shape
    values, scales = empty_fp8(rows)
    _rows_to_fp8[count,](
        rows, values, scales,
        STRIDE=rows.stride(0), LARGEST=LARGEST, MOST=most_inverse, GELU=gelu,
        DIM=dim, BLOCK=triton.next_power_of_2(dim), num_warps=WARPS[dim <= SHORT_ROW],
    )  # fmt: skip
    return values, scales


@triton.jit
def _rows_to_fp8(
    rows, values, scales, STRIDE: tl.constexpr, LARGEST: tl.constexpr, MOST: tl.constexpr,
    GELU: tl.constexpr, DIM: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    # STRIDE is known to the compiler, as is that rows start at whole vectors; numbers are, or they would be
    # in fp64.
    row = tl.program_id(0).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    inside = channel < DIM
    dtype: tl.constexpr = rows.dtype.element_ty
    x = tl.load(rows + row * STRIDE + channel, mask=inside, other=0.0).to(tl.float32)
    if GELU:  # as in `feed_forward.gelu_by_sigmoid`; then rounded, as activations are before a product
        x = (x * tl.sigmoid(1.5957691216057308 * (x + 0.044715 * x * x * x))).to(dtype).to(tl.float32)
    store_fp8(x, values, scales, row, channel, inside, dtype, MOST, LARGEST, DIM)
