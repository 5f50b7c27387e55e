"""The block types of GGUF decoded in float64, element for element as ggml-common.h and ggml-quants.c of
llama.cpp define them, and blocks of each.

Q8_0, Q5_x and Q4_x are made by the quantizers of the `gguf` package. It has none for the K types: their
blocks are random bits, which meet every bit of the packing, under scales that give weights of a usual size.
"""

from collections.abc import Callable
from dataclasses import dataclass

import gguf
import numpy as np
from numpy.typing import NDArray

from tests.checkpoint.synthetic.minifloats import Array

Bytes = NDArray[np.uint8]
USUAL = 0.05  # standard deviation of the K types' random weights


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockType:
    """`number` is GGML's. `scale_at`: byte of each fp16 that multiplies, with its size relative to the first;
    empty for a type that the `gguf` package can make.
    """

    number: int
    elements: int
    bytes: int
    decode: Callable[[Bytes], Array]
    scale_at: tuple[tuple[int, float], ...] = ()


def make(weight: Array, kind: str, source: np.random.Generator) -> tuple[bytes, Array]:
    """(content, values) of a weight (rows, columns) in that type; the K types only keep its shape."""
    row = TYPES[kind]
    if row.scale_at:
        blocks = _random_blocks(row, weight.size // row.elements, source)
    else:
        made = gguf.quants.quantize(weight.astype(np.float32), gguf.GGMLQuantizationType[kind])
        blocks = made.reshape(-1, row.bytes)
    return blocks.tobytes(), row.decode(blocks).reshape(weight.shape)


def _random_blocks(row: BlockType, count: int, source: np.random.Generator) -> Bytes:
    blocks = source.integers(0, 256, (count, row.bytes), dtype=np.uint8)
    _set_scales(row, blocks, np.ones(count))
    _set_scales(row, blocks, USUAL / row.decode(blocks).std() * source.uniform(0.5, 1.5, count))
    return blocks


def _set_scales(row: BlockType, blocks: Bytes, scale: Array) -> None:
    for start, relative in row.scale_at:
        halves = (scale * relative).astype("<f2")
        blocks[:, start : start + 2] = halves.view(np.uint8).reshape(-1, 2)


def _half(blocks: Bytes, start: int) -> Array:
    return blocks[:, start : start + 2].copy().view("<f2").astype(np.float64)


def _nibbles(packed: Bytes) -> Array:
    """The low halves of all bytes, then the high ones."""
    return np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float64)


def _fifth_bits(packed: Bytes) -> Array:
    """Four bytes, little-endian: bit j belongs to element j."""
    word = packed.copy().view("<u4")
    return ((word >> np.arange(32, dtype=np.uint32)) & 1).astype(np.float64)


def _q4_0(b: Bytes) -> Array:
    return (_nibbles(b[:, 2:]) - 8) * _half(b, 0)


def _q4_1(b: Bytes) -> Array:
    return _nibbles(b[:, 4:]) * _half(b, 0) + _half(b, 2)


def _q5_0(b: Bytes) -> Array:
    return (_nibbles(b[:, 6:]) + 16 * _fifth_bits(b[:, 2:6]) - 16) * _half(b, 0)


def _q5_1(b: Bytes) -> Array:
    return (_nibbles(b[:, 8:]) + 16 * _fifth_bits(b[:, 4:8])) * _half(b, 0) + _half(b, 2)


def _q8_0(b: Bytes) -> Array:
    return b[:, 2:].view(np.int8).astype(np.float64) * _half(b, 0)


def _q2_k(b: Bytes) -> Array:
    """scales[16] (low half: scale, high half: minimum), qs[64], d, dmin."""
    scales, qs, d, dmin = b[:, :16], b[:, 16:80], _half(b, 80), _half(b, 82)
    values = np.empty((len(b), 256))
    for sub in range(16):  # of 16 elements: 8 of them, two for each of four shifts, read the same 32 bytes
        half, shift, part = sub // 8, sub % 8 // 2, sub % 2
        start = 32 * half + 16 * part
        code = (qs[:, start : start + 16] >> (2 * shift)) & 3
        low, high = scales[:, sub : sub + 1] & 15, scales[:, sub : sub + 1] >> 4
        values[:, 16 * sub : 16 * sub + 16] = d * low * code - dmin * high
    return values


def _q3_k(b: Bytes) -> Array:
    """hmask[32], qs[64], scales[12] (16 of six bits, biased by 32), d. A clear bit of hmask subtracts 4."""
    hmask, qs, packed, d = b[:, :32], b[:, 32:96], b[:, 96:108], _half(b, 108)
    values = np.empty((len(b), 256))
    for sub in range(16):
        low = packed[:, sub % 8] >> (4 * (sub // 8)) & 15
        high = packed[:, 8 + sub % 4] >> (2 * (sub // 4)) & 3
        scale = (low | high << 4).astype(np.float64)[:, None] - 32
        half, shift, part = sub // 8, sub % 8 // 2, sub % 2
        columns = slice(16 * part, 16 * part + 16)
        code = (qs[:, 32 * half : 32 * half + 32][:, columns] >> (2 * shift) & 3).astype(np.float64)
        is_set = hmask[:, columns] >> (4 * half + shift) & 1
        values[:, 16 * sub : 16 * sub + 16] = d * scale * (code - np.where(is_set, 0, 4))
    return values


def _six_bits(scales: Bytes) -> list[tuple[Array, Array]]:
    """(scale, minimum) of the eight sub-blocks of Q4_K and Q5_K, each (blocks, 1): get_scale_min_k4."""
    s, found = scales, []
    for j in range(4):
        found.append((s[:, j] & 63, s[:, j + 4] & 63))
    for j in range(4, 8):
        scale = (s[:, j + 4] & 15) | (s[:, j - 4] >> 6 << 4)
        found.append((scale, (s[:, j + 4] >> 4) | (s[:, j] >> 6 << 4)))
    return [(scale.astype(np.float64)[:, None], low.astype(np.float64)[:, None]) for scale, low in found]


def _q4_k(b: Bytes) -> Array:
    """d, dmin, scales[12], qs[128]: 32 bytes hold sub-block 2n in their low halves, 2n + 1 in the high."""
    return _with_minimum(b, b[:, 16:], None)


def _q5_k(b: Bytes) -> Array:
    """As Q4_K, with qh[32] before qs: bit n of byte l is the fifth bit of element l of sub-block n."""
    return _with_minimum(b, b[:, 48:], b[:, 16:48])


def _with_minimum(b: Bytes, qs: Bytes, fifth: Bytes | None) -> Array:
    d, dmin = _half(b, 0), _half(b, 2)
    values = np.empty((len(b), 256))
    for sub, (scale, low) in enumerate(_six_bits(b[:, 4:16])):
        pair = qs[:, 32 * (sub // 2) : 32 * (sub // 2) + 32]
        code = ((pair >> 4) if sub % 2 else (pair & 15)).astype(np.float64)
        if fifth is not None:
            code += 16 * (fifth >> sub & 1)
        values[:, 32 * sub : 32 * sub + 32] = d * scale * code - dmin * low
    return values


def _q6_k(b: Bytes) -> Array:
    """ql[128], qh[64], scales[16] (signed), d. A half of 128 elements reads 64 bytes of ql and 32 of qh."""
    scales, d = b[:, 192:208].view(np.int8).astype(np.float64), _half(b, 208)
    values = np.empty((len(b), 256))
    for quarter in range(8):  # of 32 elements
        half, place = divmod(quarter, 4)
        low = b[:, 64 * half + 32 * (place % 2) :][:, :32] >> (4 * (place // 2)) & 15
        high = b[:, 128 + 32 * half :][:, :32] >> (2 * place) & 3
        code = (low | high << 4).astype(np.float64) - 32
        scale = np.repeat(scales[:, 2 * quarter : 2 * quarter + 2], 16, axis=1)
        values[:, 32 * quarter : 32 * quarter + 32] = d * scale * code
    return values


TYPES = {
    "Q4_0": BlockType(number=2, elements=32, bytes=18, decode=_q4_0),
    "Q4_1": BlockType(number=3, elements=32, bytes=20, decode=_q4_1),
    "Q5_0": BlockType(number=6, elements=32, bytes=22, decode=_q5_0),
    "Q5_1": BlockType(number=7, elements=32, bytes=24, decode=_q5_1),
    "Q8_0": BlockType(number=8, elements=32, bytes=34, decode=_q8_0),
    # the minimum is made as large as the mean of scale * code, so that weights are centred
    "Q2_K": BlockType(number=10, elements=256, bytes=84, decode=_q2_k, scale_at=((80, 1), (82, 1.5))),
    "Q3_K": BlockType(number=11, elements=256, bytes=110, decode=_q3_k, scale_at=((108, 1),)),
    "Q4_K": BlockType(number=12, elements=256, bytes=144, decode=_q4_k, scale_at=((0, 1), (2, 7.5))),
    "Q5_K": BlockType(number=13, elements=256, bytes=176, decode=_q5_k, scale_at=((0, 1), (2, 15.5))),
    "Q6_K": BlockType(number=14, elements=256, bytes=210, decode=_q6_k, scale_at=((208, 1),)),
}
