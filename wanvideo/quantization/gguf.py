"""Weights of GGUF files: read, never made here. The arithmetic is that of llama.cpp's `dequantize_row_*`.

Everything is computed in fp32: the scales are fp16, and bf16 would round them. No table is made on the host,
so a card never makes the host wait.
"""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor

from wanvideo.quantization.gguf_types import BLOCK_TYPES, READABLE
from wanvideo.quantization.stored import StoredWeight

MOST_AT_ONCE = 1 << 25  # elements: keeps the fp32 values of a large weight to 128 MB
Blocks: TypeAlias = Callable[[Tensor], Tensor]  # bytes (blocks, size) -> fp32 (blocks, elements)


def row_bytes(kind: str, in_features: int) -> int:
    """Bytes of one row of a weight. KeyError for a type that is not in `TYPES`."""
    if kind not in TYPES:
        raise KeyError(kind)
    return in_features // BLOCK_TYPES[kind].block * BLOCK_TYPES[kind].bytes


def dequantize(stored: StoredWeight, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) in `dtype`; each element is rounded once."""
    kind, to_values = BLOCK_TYPES[stored.kind], TYPES[stored.kind]
    blocks = stored.tensors["weight"].reshape(-1, kind.bytes)
    step = MOST_AT_ONCE // kind.block
    parts = [to_values(blocks[first : first + step]).to(dtype) for first in range(0, len(blocks), step)]
    whole: Tensor = parts[0] if len(parts) == 1 else torch.cat(parts)
    return whole.reshape(stored.shape)


def _half(blocks: Tensor, place: int) -> Tensor:
    """The fp16 number at that byte of each block, as fp32 (blocks, 1)."""
    return blocks[:, place : place + 2].contiguous().view(torch.float16).float()


def _fields(packed: Tensor, bits: int, width: int) -> Tensor:
    """Bytes (blocks, n) -> fields of so many bits, the lowest first: (blocks, 8 / bits * n) in the order of
    ggml, where `width` bytes give their lowest fields, then the same bytes their next ones.
    """
    shifts = torch.arange(0, 8, bits, dtype=torch.uint8, device=packed.device)
    split = packed.reshape(len(packed), -1, 1, width) >> shifts.reshape(1, 1, -1, 1)
    fields: Tensor = (split & (2**bits - 1)).flatten(1)
    return fields


def _bits(packed: Tensor) -> Tensor:
    """Bytes (blocks, n) -> their bits in a row, the lowest of the first byte first: (blocks, 8n)."""
    return _fields(packed, 1, 1)


def _q8_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * blocks[:, 2:].contiguous().view(torch.int8)


def _q4_0(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * (_fields(blocks[:, 2:], 4, 16).view(torch.int8) - 8)


def _q4_1(blocks: Tensor) -> Tensor:
    return _half(blocks, 0) * _fields(blocks[:, 4:], 4, 16) + _half(blocks, 2)


def _q5_0(blocks: Tensor) -> Tensor:
    codes = _fields(blocks[:, 6:], 4, 16) | (_bits(blocks[:, 2:6]) << 4)
    return _half(blocks, 0) * (codes.view(torch.int8) - 16)


def _q5_1(blocks: Tensor) -> Tensor:
    codes = _fields(blocks[:, 8:], 4, 16) | (_bits(blocks[:, 4:8]) << 4)
    return _half(blocks, 0) * codes + _half(blocks, 2)


def _q2_k(blocks: Tensor) -> Tensor:
    scales, codes = blocks[:, :16], _fields(blocks[:, 16:80], 2, 32).reshape(-1, 16, 16)
    step, least = _half(blocks, 80) * (scales & 15), _half(blocks, 82) * (scales >> 4)
    return (step.unsqueeze(2) * codes - least.unsqueeze(2)).flatten(1)


def _q3_k(blocks: Tensor) -> Tensor:
    """Scales have 6 bits, the low four of 16 in 8 bytes, the high two in 4."""
    low, high = _fields(blocks[:, 96:104], 4, 8), _fields(blocks[:, 104:108], 2, 4)
    step = _half(blocks, 108) * ((low | (high << 4)).view(torch.int8) - 32)
    codes = _fields(blocks[:, 32:96], 2, 32) | (_fields(blocks[:, :32], 1, 32) << 2)
    return (step.unsqueeze(2) * (codes.view(torch.int8) - 4).reshape(-1, 16, 16)).flatten(1)


def _six_bits(packed: Tensor) -> tuple[Tensor, Tensor]:
    """Bytes (blocks, 12) of Q4_K and Q5_K -> (scales, minima), 8 of each."""
    first, second, third = packed.reshape(-1, 3, 4).unbind(1)
    scales = torch.cat([first & 63, (third & 15) | ((first >> 2) & 48)], dim=1)
    return scales, torch.cat([second & 63, (third >> 4) | ((second >> 2) & 48)], dim=1)


def _scaled_k(blocks: Tensor, codes: Tensor) -> Tensor:
    """Codes (blocks, 256) with the eight scales and minima that Q4_K and Q5_K begin with."""
    scales, minima = _six_bits(blocks[:, 4:16])
    step, least = _half(blocks, 0) * scales, _half(blocks, 2) * minima
    return (step.unsqueeze(2) * codes.reshape(-1, 8, 32) - least.unsqueeze(2)).flatten(1)


def _q4_k(blocks: Tensor) -> Tensor:
    return _scaled_k(blocks, _fields(blocks[:, 16:], 4, 32))


def _q5_k(blocks: Tensor) -> Tensor:
    return _scaled_k(blocks, _fields(blocks[:, 48:], 4, 32) | (_fields(blocks[:, 16:48], 1, 32) << 4))


def _q6_k(blocks: Tensor) -> Tensor:
    codes = _fields(blocks[:, :128], 4, 64) | (_fields(blocks[:, 128:192], 2, 32) << 4)
    step = _half(blocks, 208) * blocks[:, 192:208].contiguous().view(torch.int8)
    return (step.unsqueeze(2) * (codes.view(torch.int8) - 32).reshape(-1, 16, 16)).flatten(1)


_ARITHMETIC: tuple[Blocks, ...] = (_q2_k, _q3_k, _q4_k, _q5_k, _q6_k, _q4_0, _q4_1, _q5_0, _q5_1, _q8_0)
TYPES = dict(zip(READABLE, _ARITHMETIC, strict=True))
