"""Rounding to NVFP4, e2m1, e4m3 and INT8. What comes back is float32 and holds the rounded values exactly."""

import torch
from torch import Tensor
from torch.nn.functional import pad

from wanvideo.quantization import nvfp4
from wanvideo.quantization import nvfp4_layout as layout

LARGEST_E4M3 = 448.0
LARGEST_INT8 = 127.0


def round_nvfp4(values: Tensor) -> Tensor:
    """(rows, columns): each 16 elements of a row as e2m1 codes under an e4m3 scale of amax / 6, with no scale
    of the tensor. Beyond 448 * 6 values saturate; a scale below e4m3's smallest makes a block zero.
    """
    return nvfp4.dequantize(nvfp4.quantize(values, tensor_scale=False), torch.float32)


def round_e2m1(values: Tensor) -> Tensor:
    """(rows, columns), columns even: to the nearest of 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives."""
    return layout.unpack(layout.pack(layout.encode(values)), torch.float32)


def round_e4m3(values: Tensor) -> Tensor:
    """To the nearest e4m3 value, saturating at 448."""
    return values.clamp(-LARGEST_E4M3, LARGEST_E4M3).to(torch.float8_e4m3fn).float()


def quantize_int8(values: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """(tokens, head_dim) -> whole numbers of -127 to 127 in float32, and a scale (tokens, 1) that each `rows`
    tokens share: amax / 127.
    """
    tokens = values.shape[0]
    blocks = pad(values.float(), (0, 0, 0, -tokens % rows)).unflatten(0, (-1, rows))
    scale = (blocks.abs().amax(dim=(1, 2)) / LARGEST_INT8).repeat_interleave(rows)[:tokens, None]
    return torch.where(scale > 0, values.float() / scale, 0.0).round(), scale
