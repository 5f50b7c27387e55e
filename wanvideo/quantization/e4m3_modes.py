"""FP8 weights in e4m3: three bits of mantissa, the better half of the FP8 modes.

The plain names keep one scale for a tensor, the scaled ones a scale for each row. The fast ones multiply in
FP8 on tensor cores; the others make the weight dense for each call.
"""

from functools import partial

from wanvideo.quantization.rows import (
    dequantizing,
    needs_fp8_cores,
    on_tensor_cores,
    runs_everywhere,
    store_fp8,
)
from wanvideo.registry import QuantizationMode

_ACCEPTS = frozenset({"e4m3", "nvfp4"})  # what a 4-bit file has lost does not come back in 8 bits
_plain = partial(store_fp8, "e4m3", False)
_scaled = partial(store_fp8, "e4m3", True)

MODES = (
    QuantizationMode(
        name="fp8_e4m3fn",
        label="FP8 E4M3",
        aliases=("fp8",),
        bytes_per_weight=1.0,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=_ACCEPTS,
        store=_plain,
        make_linear=dequantizing,
    ),
    QuantizationMode(
        name="fp8_e4m3fn_fast",
        label="FP8 E4M3, FP8 matmul: faster, less exact",
        bytes_per_weight=1.0,
        fallback="fp8_e4m3fn",
        unavailable_reason=partial(needs_fp8_cores, "FP8 matmul"),
        accepts=_ACCEPTS,
        store=_plain,
        make_linear=on_tensor_cores,
    ),
    QuantizationMode(
        name="fp8_e4m3fn_scaled",
        label="FP8 E4M3, a scale per row",
        aliases=("fp8_scaled",),
        bytes_per_weight=1.0,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=_ACCEPTS,
        store=_scaled,
        scaled=True,
        near=("int8", "mxfp8"),
        make_linear=dequantizing,
    ),
    QuantizationMode(
        name="fp8_e4m3fn_scaled_fast",
        label="FP8 E4M3, a scale per row, FP8 matmul: faster, less exact",
        bytes_per_weight=1.0,
        fallback="fp8_e4m3fn_scaled",
        unavailable_reason=partial(needs_fp8_cores, "FP8 matmul"),
        accepts=_ACCEPTS,
        store=_scaled,
        scaled=True,
        make_linear=on_tensor_cores,
    ),
)
