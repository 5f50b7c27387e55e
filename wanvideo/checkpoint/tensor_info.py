"""What a header says of one tensor."""

import math
from dataclasses import dataclass

BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    "F4": 4,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor of a file; `dtype` in safetensors' spelling (F32, BF16, F8_E4M3 ...)."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @classmethod
    def of(cls, dtype: str, shape: tuple[int, ...]) -> "TensorInfo":
        """With the bytes that follow from dtype and shape. KeyError for an unknown dtype."""
        return cls(dtype=dtype, shape=shape, bytes=math.prod(shape) * BITS[dtype] // 8)

    @property
    def numel(self) -> int:
        return math.prod(self.shape)
