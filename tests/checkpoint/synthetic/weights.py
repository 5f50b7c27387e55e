"""One weight in each layout of quantized files, with its exact values in float64.

A layout turns (rows, columns) into the tensors that stand in the file below the layer's name, and tells what
value each element has: the reference that a loader is measured against.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tests.checkpoint.synthetic import minifloats
from tests.checkpoint.synthetic.containers import Raw, codes, floats, kept, text
from tests.checkpoint.synthetic.minifloats import Array

_FP8 = {"e4m3": "F8_E4M3", "e5m2": "F8_E5M2"}
_MARKED = {"e4m3": "float8_e4m3fn", "e5m2": "float8_e5m2"}
BLOCK, TILE_ROWS, TILE_COLUMNS = 16, 128, 4  # of NVFP4


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """`tensors`: what is written after the layer's name, e.g. ".weight"."""

    tensors: dict[str, Raw]
    values: Array


Layout = Callable[[Array], Packed]


def dense(dtype: str) -> Layout:
    """One tensor of that type, also fp8: the unscaled cast."""

    def pack(weight: Array) -> Packed:
        return Packed(tensors={".weight": floats(weight, dtype)}, values=kept(weight, dtype))

    return pack


def scaled_fp8(
    kind: str, *, scale: str = ".scale_weight", per: str = "tensor", extra: dict[str, Raw] | None = None
) -> Layout:
    """weight = code * scale; `per` is "tensor" (shape [1]), "scalar" (shape []) or "row" (shape [N, 1])."""

    def pack(weight: Array) -> Packed:
        size = np.abs(weight).max(axis=1, keepdims=True) if per == "row" else np.abs(weight).max()
        factor = np.asarray(kept(np.asarray(size / minifloats.largest(kind)), "F32"))
        payload = minifloats.encode(weight / factor, kind)
        factors = factor if per == "row" else factor.reshape(() if per == "scalar" else (1,))
        tensors = {".weight": codes(payload, _FP8[kind]), scale: floats(factors, "F32"), **(extra or {})}
        return Packed(tensors=tensors, values=minifloats.decode(payload, kind) * factor)

    return pack


def comfy_fp8(kind: str, *, exact: bool = False, marked: bool = True, input_scale: bool = False) -> Layout:
    """ComfyUI's second layout: weight_scale [], perhaps input_scale [] and a marker in JSON."""
    extra = {".comfy_quant": marker(_MARKED[kind], exact)} if marked else {}
    if input_scale:
        extra[".input_scale"] = floats(np.asarray(0.01), "F32")
    return scaled_fp8(kind, scale=".weight_scale", per="scalar", extra=extra)


def marker(word: str, exact: bool = False) -> Raw:
    """ComfyUI's marker of one layer."""
    more = {"full_precision_matrix_mult": True} if exact else {}
    return text(json.dumps({"format": word, **more}).encode())


def int8_rows(weight: Array) -> Packed:
    """LightX2V: signed bytes and an fp32 scale for each row, symmetric."""
    scale = kept(np.abs(weight).max(axis=1, keepdims=True) / 127, "F32")
    payload = np.rint(weight / scale).clip(-127, 127).astype(np.int8)
    tensors = {".weight": codes(payload, "I8"), ".weight_scale": floats(scale, "F32")}
    return Packed(tensors=tensors, values=payload * scale)


def quanto(kind: str) -> Layout:
    """optimum-quanto: weight._data and a bf16 weight._scale [N, 1]; `kind` is "int8" or a row of fp8.

    The scales of input and output are 1 when activations are not quantized.
    """

    def pack(weight: Array) -> Packed:
        top = 127.0 if kind == "int8" else minifloats.largest(kind)
        scale = kept(np.abs(weight).max(axis=1, keepdims=True) / top, "BF16")
        steps = weight / scale
        if kind == "int8":
            whole = np.rint(steps).clip(-128, 127)
            payload, values = codes(whole.astype(np.int8), "I8"), whole
        else:
            payload, values = floats(steps, _FP8[kind]), kept(steps, _FP8[kind])
        one = floats(np.ones(()), "F32")
        tensors = {".weight._data": payload, ".weight._scale": floats(scale, "BF16")}
        return Packed(tensors=tensors | {".input_scale": one, ".output_scale": one}, values=values * scale)

    return pack


def nvfp4(
    *, high_first: bool, in_tiles: bool, divides: bool = False, extra: dict[str, Raw] | None = None
) -> Layout:
    """e2m1 codes, e4m3 scales of 16 elements, one fp32 scale.

    ComfyUI: the first of two codes in the high half, scales spread over tiles. ModelOpt: the first in the low
    half, scales (rows, columns / 16) as they are. LightX2V's own kernels: the first in the low half, scales
    spread over tiles, and the scale of the tensor `divides` under another name.
    """

    def pack(weight: Array) -> Packed:
        rows, columns = weight.shape
        whole = kept(np.asarray(np.abs(weight).max() / (448 * 6)), "F32")
        inverse = kept(1 / whole, "F32")
        whole = 1 / inverse if divides else whole
        blocks = weight.reshape(rows, columns // BLOCK, BLOCK)
        scales = minifloats.encode(np.abs(blocks).max(axis=2) / 6 / whole, "e4m3")
        step = minifloats.decode(scales, "e4m3")[:, :, None] * whole
        nibbles = minifloats.encode(
            np.divide(blocks, step, where=step > 0, out=np.zeros_like(blocks)), "e2m1"
        )
        values = (minifloats.decode(nibbles, "e2m1") * step).reshape(rows, columns)
        first, second = nibbles.reshape(rows, -1)[:, 0::2], nibbles.reshape(rows, -1)[:, 1::2]
        tensors = {
            ".weight": codes(first << 4 | second if high_first else second << 4 | first, "U8"),
            ".weight_scale": codes(tiled(scales) if in_tiles else scales, "F8_E4M3"),
            **(extra or {}),
        }
        name = ".weight_global_scale" if divides else ".weight_scale_2"
        tensors[name] = floats(inverse if divides else whole, "F32")
        return Packed(tensors=tensors, values=values)

    return pack


def tiled(scales: np.ndarray) -> np.ndarray:
    """cuBLAS' order of block scales, padded with zeros to tiles of 128 x 4: within a tile, (r, c) lies at
    16 (r % 32) + 4 (r // 32) + c. Written out element by element.
    """
    rows, columns = (-(-n // t) * t for n, t in zip(scales.shape, (TILE_ROWS, TILE_COLUMNS), strict=True))
    flat = np.zeros(rows * columns, scales.dtype)
    for r in range(scales.shape[0]):
        for c in range(scales.shape[1]):
            tile = (r // TILE_ROWS) * (columns // TILE_COLUMNS) + c // TILE_COLUMNS
            inside = 16 * (r % TILE_ROWS % 32) + 4 * (r % TILE_ROWS // 32) + c % TILE_COLUMNS
            flat[tile * TILE_ROWS * TILE_COLUMNS + inside] = scales[r, c]
    return flat.reshape(rows, columns)
