"""Small floating point formats from their definition, in float64: nothing of the application or of torch.

A code is sign | exponent | mantissa. An exponent field e > 0 means (1 + m / 2^M) * 2^(e - bias), e = 0 means
m / 2^M * 2^(1 - bias). e4m3 (the "fn" kind) has no infinity and one NaN, so its largest value is 448; e2m1
has neither. OCP "8-bit Floating Point" and "Microscaling Formats (MX)" define them.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniFloat:
    """`dtype` is that of the codes. Codes above `last` (the sign left out) are no finite number."""

    exponent_bits: int
    mantissa_bits: int
    bias: int
    last: int
    dtype: type[np.unsignedinteger] = np.uint8


KINDS = {
    "e2m1": MiniFloat(exponent_bits=2, mantissa_bits=1, bias=1, last=0b111),
    "e4m3": MiniFloat(exponent_bits=4, mantissa_bits=3, bias=7, last=0b1111_110),
    "e5m2": MiniFloat(exponent_bits=5, mantissa_bits=2, bias=15, last=0b11110_11),
    "bf16": MiniFloat(exponent_bits=8, mantissa_bits=7, bias=127, last=0x7F7F, dtype=np.uint16),
    "fp16": MiniFloat(exponent_bits=5, mantissa_bits=10, bias=15, last=0x7BFF, dtype=np.uint16),
}


def largest(kind: str) -> float:
    """The largest finite value."""
    return float(_magnitudes(kind)[-1])


def encode(values: Array, kind: str) -> NDArray[np.unsignedinteger]:
    """Codes of the nearest values, ties to the even code, saturating; one code for each element."""
    table, row = _magnitudes(kind), KINDS[kind]
    size = np.minimum(np.abs(values), table[-1])
    upper = np.searchsorted(table, size).clip(1)
    below, above = size - table[upper - 1], table[upper] - size
    down = (below < above) | ((below == above) & (upper % 2 == 1))
    code = np.where(down, upper - 1, upper)
    sign = np.signbit(values).astype(np.int64) << (row.exponent_bits + row.mantissa_bits)
    return (code | sign).astype(row.dtype)


def decode(codes: NDArray[np.unsignedinteger], kind: str) -> Array:
    """Values of finite codes."""
    sign_bit = 1 << (KINDS[kind].exponent_bits + KINDS[kind].mantissa_bits)
    whole = codes.astype(np.int64)
    size = _magnitudes(kind)[whole & (sign_bit - 1)]
    return np.where(whole & sign_bit, -size, size)


def rounded(values: Array, kind: str) -> Array:
    """What is left of values after they were kept in that format."""
    return decode(encode(values, kind), kind)


@cache
def _magnitudes(kind: str) -> Array:
    """The value of every finite code without sign, in rising order."""
    row = KINDS[kind]
    codes = np.arange(row.last + 1)
    exponent, mantissa = codes >> row.mantissa_bits, codes & ((1 << row.mantissa_bits) - 1)
    fraction = mantissa / (1 << row.mantissa_bits)
    normal = (1 + fraction) * np.exp2(exponent - float(row.bias))
    return np.where(exponent > 0, normal, fraction * np.exp2(1.0 - row.bias))
