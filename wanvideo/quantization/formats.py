"""The table of the formats a weight can be kept in."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wanvideo.quantization import fp8, gguf, int8, nvfp4
from wanvideo.quantization.stored import StoredWeight


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightFormat:
    """`dequantize` gives the dense (out, in) weight. `bits_per_weight` leaves out what does not grow with the
    weight; None: every type of the format has its own.
    """

    name: str
    bits_per_weight: float | None
    dequantize: Callable[[StoredWeight, torch.dtype], Tensor]


def _dense(stored: StoredWeight, dtype: torch.dtype) -> Tensor:
    return stored.tensors["weight"].to(dtype)


FORMATS = {
    row.name: row
    for row in (
        WeightFormat(name="dense", bits_per_weight=16, dequantize=_dense),
        WeightFormat(name="e4m3", bits_per_weight=8, dequantize=fp8.dequantize),
        WeightFormat(name="e5m2", bits_per_weight=8, dequantize=fp8.dequantize),
        WeightFormat(name="int8", bits_per_weight=8, dequantize=int8.dequantize),
        WeightFormat(name="nvfp4", bits_per_weight=4.5, dequantize=nvfp4.dequantize),
        WeightFormat(name="gguf", bits_per_weight=None, dequantize=gguf.dequantize),
    )
}
