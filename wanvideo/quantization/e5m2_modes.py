"""FP8 weights in e5m2: two bits of mantissa, so twice e4m3's error at the same size.

Kept for its name and because torch.compile accepts it on cards before 8.9. The fast modes put the ACTIVATIONS
into e4m3: cuBLASLt refuses e5m2 times e5m2.
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

_ACCEPTS = frozenset({"e5m2", "nvfp4"})  # what a 4-bit file has lost does not come back in 8 bits
_plain = partial(store_fp8, "e5m2", False)
_scaled = partial(store_fp8, "e5m2", True)

MODES = (
    QuantizationMode(
        name="fp8_e5m2",
        label="FP8 E5M2",
        bytes_per_weight=1.0,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=_ACCEPTS,
        store=_plain,
        make_linear=dequantizing,
    ),
    QuantizationMode(
        name="fp8_e5m2_fast",
        label="FP8 E5M2, FP8 matmul: faster, less exact",
        bytes_per_weight=1.0,
        fallback="fp8_e5m2",
        unavailable_reason=partial(needs_fp8_cores, "FP8 matmul"),
        accepts=_ACCEPTS,
        store=_plain,
        make_linear=on_tensor_cores,
    ),
    QuantizationMode(
        name="fp8_e5m2_scaled",
        label="FP8 E5M2, a scale per row",
        bytes_per_weight=1.0,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=_ACCEPTS,
        store=_scaled,
        scaled=True,
        make_linear=dequantizing,
    ),
    QuantizationMode(
        name="fp8_e5m2_scaled_fast",
        label="FP8 E5M2, a scale per row, FP8 matmul: faster, less exact",
        bytes_per_weight=1.0,
        fallback="fp8_e5m2_scaled",
        unavailable_reason=partial(needs_fp8_cores, "FP8 matmul"),
        accepts=_ACCEPTS,
        store=_scaled,
        scaled=True,
        make_linear=on_tensor_cores,
    ),
)
