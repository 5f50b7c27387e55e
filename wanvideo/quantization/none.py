"""No quantization: weights stay as they are in the file, multiplied in the compute dtype."""

from typing import TYPE_CHECKING

from wanvideo.hardware import Hardware
from wanvideo.registry import QuantizationMode

if TYPE_CHECKING:
    from torch import nn


def _unavailable_reason(hardware: Hardware) -> str | None:  # noqa: ARG001 - runs everywhere
    return None


def _make_linear(linear: "nn.Linear") -> "nn.Module":
    return linear


MODE = QuantizationMode(
    name="disabled",
    label="Off: as stored in the file",
    aliases=("none",),
    bytes_per_weight=2.0,
    fallback=None,
    unavailable_reason=_unavailable_reason,
    make_linear=_make_linear,
)
