"""Which format the weight of one layer is in: from dtypes and shapes of its parts, and what its file says.

NVFP4 comes in three orders. Shapes tell them apart where rows are no multiple of 128, or blocks of 16 none of
4: tiles are padded to both. Wan's own sizes are multiples of both, and there other evidence decides:

    X.weight_global_scale          LightX2V: low nibble first, scales in tiles; that scale divides
    X.comfy_quant, or metadata     ComfyUI: high nibble first, scales in tiles
    neither                        ModelOpt: low nibble first, scales in rows; ComfyUI reads no NVFP4 unmarked
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wanvideo.checkpoint.markers import FORMAT_OF_WORD, LayerMarker
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.errors import UserError
from wanvideo.quantization.gguf_types import BLOCK_TYPES, READABLE

WEIGHT, SCALE, TENSOR_SCALE, GLOBAL_SCALE = "weight", "weight_scale", "weight_scale_2", "weight_global_scale"
GGUF, INT8, NVFP4 = "gguf", "int8", "nvfp4"
NVFP4_BLOCK = 16
_FP8 = {"F8_E4M3": "e4m3", "F8_E5M2": "e5m2"}
_SCALE_DTYPES = ("F32", "BF16", "F16")
_PER_BYTE, _TILE = 2, (128, 4)  # of NVFP4
Parts = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class Nvfp4Order:
    """How a file has its NVFP4 weights, where that is not our own way (ComfyUI's)."""

    low_nibble_first: bool = False
    scales_in_rows: bool = False


def format_of(file: str, parts: Parts, marker: LayerMarker) -> str:
    """The row of FORMATS. Raises UserError for what is none, or is not what its marker says."""
    weight, scale = parts[WEIGHT], parts.get(SCALE)
    if marker.format is not None and marker.format not in FORMAT_OF_WORD:
        raise UserError(f"{file} has weights in {marker.format}; this format is not supported yet")
    if weight.dtype in BLOCK_TYPES:
        found = GGUF
        _check_gguf(file, weight.dtype)
    elif weight.dtype in _FP8:
        found = _FP8[weight.dtype]
        if scale is not None:
            _check_scale(file, "fp8", weight, scale)
    elif weight.dtype == "I8" and scale is not None:
        found = INT8
        _check_scale(file, INT8, weight, scale)
    elif _is_nvfp4(parts):
        found = NVFP4
    else:
        raise UserError(f"{file} has weights of type {weight.dtype}; this format is not supported yet")
    if FORMAT_OF_WORD.get(marker.format or "") not in (None, found):
        raise UserError(f"{file} is damaged: a layer marked {marker.format} holds {weight.dtype}")
    return found


def shape_of(format: str, weight: TensorInfo) -> tuple[int, ...]:
    """Of the weight itself, not of its packing."""
    if format != NVFP4:
        return weight.shape
    rows, packed = weight.shape
    return rows, packed * _PER_BYTE


def find_nvfp4_order(file: str, layers: Iterable[Parts], is_marked: bool) -> Nvfp4Order:
    """The order of all NVFP4 weights of a file: ModelOpt's and ComfyUI's never stand in one.

    `is_marked`: one of them has ComfyUI's marker. Raises UserError when the scales fit no order, or not all
    of them the same one.
    """
    layers = list(layers)
    fits = [_fitting_orders(parts[WEIGHT].shape, parts[SCALE].shape) for parts in layers]
    in_tiles = all(tiled for tiled, _ in fits)
    in_rows = all(rows for _, rows in fits)
    is_lightx2v = any(GLOBAL_SCALE in parts for parts in layers)
    if is_marked:
        in_rows = False
    elif is_lightx2v:
        in_rows = in_rows and not in_tiles
    if not (in_tiles or in_rows):
        raise UserError(f"{file} is damaged: its NVFP4 weights have scales of an unknown order")
    if is_lightx2v:
        return Nvfp4Order(low_nibble_first=True, scales_in_rows=in_rows)
    return Nvfp4Order(low_nibble_first=in_rows, scales_in_rows=in_rows)


def _is_nvfp4(parts: Parts) -> bool:
    weight, scale = parts[WEIGHT], parts.get(SCALE)
    has_tensor_scale = TENSOR_SCALE in parts or GLOBAL_SCALE in parts
    if weight.dtype != "U8" or len(weight.shape) != 2 or scale is None or not has_tensor_scale:
        return False
    return scale.dtype == "F8_E4M3" and len(scale.shape) == 2


def _fitting_orders(packed: tuple[int, ...], scale: tuple[int, ...]) -> tuple[bool, bool]:
    """Whether scales of that shape can be (in tiles, in rows)."""
    rows, blocks = packed[0], packed[1] * _PER_BYTE // NVFP4_BLOCK
    tiled = tuple(-(-size // tile) * tile for size, tile in zip((rows, blocks), _TILE, strict=True))
    return scale == tiled, scale == (rows, blocks)


def _check_gguf(file: str, kind: str) -> None:
    if kind not in READABLE:
        raise UserError(
            f"{file} has weights of the GGUF type {kind}; this type can't be used here",
            fix="Take the same model in Q4_K_M, Q5_K_M or Q8_0",
        )


def _check_scale(file: str, what: str, weight: TensorInfo, scale: TensorInfo) -> None:
    if scale.dtype not in _SCALE_DTYPES:
        kind = " (MXFP8)" if what == "fp8" else ""
        raise UserError(
            f"{file} has {what} weights with scales of type {scale.dtype}{kind}; not supported yet"
        )
    rows = weight.shape[0]
    if scale.numel != 1 and scale.shape not in ((rows,), (rows, *(1,) * (len(weight.shape) - 1))):
        raise UserError(f"{file} has {what} weights with a scale per block; this format is not supported yet")
