"""NVFP4 weights: e2m1 codes, an e4m3 scale for each 16 elements of a row, one fp32 scale for the tensor.

An element is code * block scale * tensor scale; the tensor scale is amax / (448 * 6), so that the largest
block scale meets e4m3's 448 and the largest element of a block meets e2m1's 6. A block of zeros has scale 0.
"""

import torch
from torch import Tensor
from torch.nn.functional import pad

from wanvideo.quantization import nvfp4_layout as layout
from wanvideo.quantization.fp8 import amax, divided, rows_at_once
from wanvideo.quantization.stored import StoredWeight

LARGEST_SCALE = 448.0


def quantize(weight: Tensor, *, tensor_scale: bool = True) -> StoredWeight:
    """A dense (out, in) weight in 4 bits; without `tensor_scale` that scale is 1 and the blocks' alone count.

    Rows are padded with zeros to whole blocks.
    """
    out_features, in_features = weight.shape
    scale = tensor_scale_of(weight) if tensor_scale else torch.ones((), device=weight.device)
    columns = layout.roundup(in_features, layout.BLOCK)
    payload = torch.empty(out_features, columns // 2, dtype=torch.uint8, device=weight.device)
    blocks = torch.empty(
        out_features, columns // layout.BLOCK, dtype=torch.float8_e4m3fn, device=weight.device
    )
    step = rows_at_once(weight)
    for start in range(0, out_features, step):
        rows = slice(start, start + step)
        payload[rows], blocks[rows] = _quantize_rows(pad(weight[rows], (0, columns - in_features)), scale)
    return _stored(payload, layout.swizzle(blocks), scale, (out_features, in_features))


def dequantize(stored: StoredWeight, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) in `dtype`; each element is rounded once."""
    blocks = _blocks(stored).float() * stored.tensors["weight_scale_2"].float()
    return _scaled_codes(stored, dtype, blocks)


def to_fp8(stored: StoredWeight) -> tuple[Tensor, Tensor]:
    """The weight in e4m3 (out, in) and the fp32 scale that multiplies it, for tensor cores that know no FP4.

    Block scales are divided by 8: a product of at most 448 * 6 then fits below 448, and a power of two keeps
    the products with 0.5, 1, 2 and 4 exact (6, the least that fits, would round nearly all of them).
    """
    codes = _scaled_codes(stored, torch.float16, _blocks(stored).float() / 8)
    return codes.to(torch.float8_e4m3fn), stored.tensors["weight_scale_2"].float() * 8


def from_low_nibble_first(
    packed: Tensor, linear_scales: Tensor, tensor_scale: Tensor, input_scale: Tensor | None = None
) -> StoredWeight:
    """The layout of ModelOpt: low nibble first, block scales e4m3 (out, in / 16) not swizzled. No bit of
    information changes. The tensor scale multiplies.
    """
    shape = (packed.shape[0], packed.shape[1] * 2)
    return _stored(
        layout.swap_nibbles(packed), layout.swizzle(linear_scales), tensor_scale, shape, input_scale
    )


def tensor_scale_of(values: Tensor) -> Tensor:
    """The fp32 scale () of a tensor; 1 for zeros alone."""
    size = amax(values)
    return torch.where(size > 0, divided(size, LARGEST_SCALE * layout.LARGEST_CODE), 1.0)


def _quantize_rows(rows: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rows of whole blocks -> packed codes (rows, columns / 2) and e4m3 scales (rows, columns / 16)."""
    split = rows.float().unflatten(1, (-1, layout.BLOCK))
    wanted = divided(split.abs().amax(dim=2), layout.LARGEST_CODE) / scale
    blocks = wanted.clamp(max=LARGEST_SCALE).to(torch.float8_e4m3fn)
    step = (blocks.float() * scale).unsqueeze(2)  # the rounded scale: codes make up for its error
    values = torch.where(step > 0, split / step, 0.0)
    return layout.pack(layout.encode(values).flatten(1)), blocks


def _blocks(stored: StoredWeight) -> Tensor:
    """Block scales (out, blocks), not swizzled, in e4m3."""
    rows, half = stored.tensors["weight"].shape
    return layout.unswizzle(stored.tensors["weight_scale"], rows, half * 2 // layout.BLOCK)


def _scaled_codes(stored: StoredWeight, dtype: torch.dtype, blocks: Tensor) -> Tensor:
    """Codes times `blocks` (out, blocks) as (out, in) in `dtype`."""
    values = layout.unpack(stored.tensors["weight"], dtype).unflatten(1, (-1, layout.BLOCK))
    dense: Tensor = values.mul_(blocks.unsqueeze(2)).flatten(1)
    return dense[:, : stored.shape[1]]


def _stored(
    payload: Tensor,
    swizzled: Tensor,
    scale: Tensor,
    shape: tuple[int, int],
    input_scale: Tensor | None = None,
) -> StoredWeight:
    tensors = {"weight": payload, "weight_scale": swizzled, "weight_scale_2": scale}
    if input_scale is not None:
        tensors["input_scale"] = input_scale
    return StoredWeight(format="nvfp4", tensors=tensors, shape=shape)
