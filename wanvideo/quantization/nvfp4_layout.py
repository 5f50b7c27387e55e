"""How NVFP4 lies in memory: 4-bit codes in bytes, and block scales in the order the tensor cores read.

A code is sign, two bits of exponent, one of mantissa (e2m1): 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives.
"""

from functools import cache

import torch
from torch import Tensor
from torch.nn.functional import pad

BLOCK = 16  # elements of a row that share a scale
TILE_ROWS, TILE_COLUMNS = 128, 4  # of block scales
LARGEST_CODE = 6.0


def roundup(size: int, multiple: int) -> int:
    """The least multiple that is not below `size`."""
    return -(-size // multiple) * multiple


def encode(values: Tensor) -> Tensor:
    """fp32 of any shape -> e2m1 codes in uint8, to the nearest value, ties to the even code, saturating."""
    size = values.abs().clamp_(max=LARGEST_CODE)
    # Between 0 and 2 the values lie 0.5 apart, to 4 they lie 1 apart, to 6 they lie 2 apart.
    code = torch.where(
        size < 2, (size * 2).round(), torch.where(size < 4, size.round() + 2, (size / 2).round() + 4)
    )
    return code.to(torch.uint8) | (values.signbit().to(torch.uint8) << 3)


def pack(codes: Tensor) -> Tensor:
    """Codes (rows, columns) -> bytes (rows, columns / 2), the first of a pair in the HIGH nibble."""
    return (codes[:, 0::2] << 4) | codes[:, 1::2]


def unpack(packed: Tensor, dtype: torch.dtype) -> Tensor:
    """Bytes (rows, n) -> values (rows, 2n) in `dtype`."""
    # Dynamo can't see through `cache`; within a compiled graph the table costs nothing.
    table = (_pairs if torch.compiler.is_compiling() else _kept_pairs)(packed.device, dtype)
    return torch.nn.functional.embedding(packed.int(), table).flatten(1)


def swap_nibbles(packed: Tensor) -> Tensor:
    """Between high nibble first (ComfyUI) and low nibble first (ModelOpt, LightX2V, torch's float4)."""
    return (packed << 4) | (packed >> 4)


def swizzle(scales: Tensor) -> Tensor:
    """Block scales (rows, blocks) -> tiles of 128 x 4, padded with zeros to whole tiles.

    Within a tile, row r and block b lie at 16 (r % 32) + 4 (r // 32) + b: cuBLAS' layout of block scaling
    factors for FP4.
    """
    rows, blocks = roundup(scales.shape[0], TILE_ROWS), roundup(scales.shape[1], TILE_COLUMNS)
    whole = pad(scales.view(torch.uint8), (0, blocks - scales.shape[1], 0, rows - scales.shape[0]))
    tiles = whole.reshape(rows // TILE_ROWS, 4, 32, blocks // TILE_COLUMNS, 4).permute(0, 3, 2, 1, 4)
    return tiles.reshape(rows, blocks).view(scales.dtype)


def unswizzle(swizzled: Tensor, rows: int, blocks: int) -> Tensor:
    """The block scales (rows, blocks) that `swizzle` has spread over tiles."""
    height, width = swizzled.shape
    tiles = swizzled.view(torch.uint8).reshape(height // TILE_ROWS, width // TILE_COLUMNS, 32, 4, 4)
    return tiles.permute(0, 3, 2, 1, 4).reshape(height, width)[:rows, :blocks].view(swizzled.dtype)


def _pairs(device: torch.device, dtype: torch.dtype) -> Tensor:
    """The two values of each of the 256 bytes, (256, 2)."""
    code = torch.arange(16, device=device)
    size = (code % 8).to(dtype)
    magnitude = torch.where(size < 4, size / 2, torch.where(size < 6, size - 2, 2 * size - 8))
    values = torch.where(code < 8, magnitude, -magnitude)
    return torch.stack([values.repeat_interleave(16), values.repeat(16)], dim=1)


_kept_pairs = cache(_pairs)
