"""Real 4-bit weights (NVFP4): a quarter of bf16's bytes plus a scale for each 16 weights."""

from functools import partial

from wanvideo.quantization.rows import (
    dequantizing,
    needs_fp4_cores,
    needs_fp8_cores,
    on_fp4_cores,
    on_tensor_cores,
    runs_everywhere,
    store_nvfp4,
)
from wanvideo.registry import OwnCores, QuantizationMode

_ACCEPTS = frozenset({"nvfp4"})
_BYTES = 4.5 / 8

MODES = (
    QuantizationMode(
        name="fp4_experimental",
        label="FP4, block scales only",
        bytes_per_weight=_BYTES,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=_ACCEPTS,
        store=partial(store_nvfp4, False),
        make_linear=dequantizing,
    ),
    QuantizationMode(
        name="fp4_scaled",
        label="NVFP4, a scale per tensor too",
        bytes_per_weight=_BYTES,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=_ACCEPTS,
        store=partial(store_nvfp4, True),
        scaled=True,
        near=("nf4", "bnb_nf4", "nvfp4"),
        make_linear=dequantizing,
    ),
    QuantizationMode(
        name="fp4_scaled_fast",
        label="NVFP4, FP4 or FP8 matmul: faster, less exact",
        bytes_per_weight=_BYTES,
        fallback="fp4_scaled",
        unavailable_reason=partial(needs_fp8_cores, "FP4"),
        accepts=_ACCEPTS,
        store=partial(store_nvfp4, True),
        scaled=True,
        make_linear=on_tensor_cores,
        cores=OwnCores(
            title="FP4 tensor cores",
            otherwise="weights stay 4-bit, matmul in fp8",
            unavailable_reason=needs_fp4_cores,
            make_linear=on_fp4_cores,
        ),
    ),
)
