"""FP8 weights: e4m3 with three bits of mantissa, e5m2 with two, so with twice the error at the same size.

The plain names keep one scale for a tensor, the scaled ones a scale for each row. The fast ones multiply in
FP8 on tensor cores; the others make the weight dense for each call. e5m2 is kept for its name and because
torch.compile accepts it on cards before 8.9; its fast modes put the ACTIVATIONS into e4m3, as cuBLASLt
refuses e5m2 times e5m2.
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


def _row(
    name: str,
    format: str,
    *,
    scaled: bool = False,
    slow: str | None = None,
    aliases: tuple[str, ...] = (),
    near: tuple[str, ...] = (),
) -> QuantizationMode:
    """A mode of that stored format; `slow` is the mode that a fast one falls back to."""
    label = f"FP8 {format.upper()}" + (", a scale per row" if scaled else "")
    return QuantizationMode(
        name=name,
        label=label if slow is None else f"{label}, FP8 matmul: faster, less exact",
        aliases=aliases,
        bytes_per_weight=1.0,
        fallback=slow,
        unavailable_reason=runs_everywhere if slow is None else partial(needs_fp8_cores, "FP8 matmul"),
        # NVFP4 files stay as they are: what they have lost does not come back in 8 bits.
        accepts=frozenset({format, "nvfp4"}),
        store=partial(store_fp8, format, scaled),
        scaled=scaled,
        near=near,
        make_linear=dequantizing if slow is None else on_tensor_cores,
    )


MODES = (
    _row("fp8_e4m3fn", "e4m3", aliases=("fp8",)),
    _row("fp8_e4m3fn_fast", "e4m3", slow="fp8_e4m3fn"),
    _row("fp8_e4m3fn_scaled", "e4m3", scaled=True, aliases=("fp8_scaled",), near=("int8", "mxfp8")),
    _row("fp8_e4m3fn_scaled_fast", "e4m3", scaled=True, slow="fp8_e4m3fn_scaled"),
    _row("fp8_e5m2", "e5m2"),
    _row("fp8_e5m2_fast", "e5m2", slow="fp8_e5m2"),
    _row("fp8_e5m2_scaled", "e5m2", scaled=True),
    _row("fp8_e5m2_scaled_fast", "e5m2", scaled=True, slow="fp8_e5m2_scaled"),
)
