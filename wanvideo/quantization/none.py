"""No quantization: weights stay as they are in the file, multiplied in the compute dtype."""

from wanvideo.quantization.rows import dequantizing, runs_everywhere
from wanvideo.quantization.stored import FORMAT_NAMES
from wanvideo.registry import QuantizationMode

MODES = (
    QuantizationMode(
        name="disabled",
        label="Off: as stored in the file",
        aliases=("none",),
        bytes_per_weight=2.0,
        fallback=None,
        unavailable_reason=runs_everywhere,
        accepts=frozenset(FORMAT_NAMES),
        store=None,
        make_linear=dequantizing,
    ),
)
