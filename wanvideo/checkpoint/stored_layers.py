"""How a file keeps each quantized weight, from names, dtypes and shapes alone.

    plain fp8             X.weight in fp8, nothing beside it
    ComfyUI, LightX2V     X.weight_scale, X.input_scale, X.comfy_quant (JSON)
    Kijai, older ComfyUI  X.scale_weight, X.scale_input; one tensor `scaled_fp8` for the whole file
    NVFP4 of ComfyUI      X.weight uint8, two a byte; X.weight_scale in 128 x 4 tiles; X.weight_scale_2

The parts are called as ComfyUI calls them; what a value means is `quantization.formats`' to know.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wanvideo.checkpoint.keys import ignored_reason, names_in_module
from wanvideo.checkpoint.markers import FORMAT_OF_WORD, LayerMarker, forbids_fp8_matmul, read_markers
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.effective_mode import DENSE, StoredFormat
from wanvideo.errors import UserError
from wanvideo.quantization.which import is_quantized_linear

WEIGHT = "weight"
_PARTS = {  # name beside the layer in a file -> name in StoredWeight.tensors
    "weight_scale": "weight_scale",
    "scale_weight": "weight_scale",
    "weight_scale_2": "weight_scale_2",
    "input_scale": "input_scale",
    "scale_input": "input_scale",
}
MARKER_PART = "comfy_quant"
PLAIN_DTYPES = ("F64", "F32", "F16", "BF16")
NVFP4 = "nvfp4"
_FP8 = {"F8_E4M3": "e4m3", "F8_E5M2": "e5m2"}
_SCALE_DTYPES = ("F32", "BF16", "F16")
_PER_BYTE, NVFP4_BLOCK, _TILE = 2, 16, (128, 4)  # of NVFP4


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """The weight of one layer that is not plain floating point.

    `format` is a row of `quantization.formats.FORMATS`. `parts`: name in `StoredWeight.tensors` -> name in
    the file. `shape` is that of the weight itself, not of its packing. `exact_matmul`: the file forbids to
    multiply it in low precision.
    """

    format: str
    parts: Mapping[str, str]
    shape: tuple[int, ...]
    exact_matmul: bool = False

    @property
    def has_scale(self) -> bool:
        """Whether the file brings a scale for the weight."""
        return "weight_scale" in self.parts


def find_stored_layers(
    component: str, files: Sequence[Path], prefix: str, tensors: Mapping[str, TensorInfo]
) -> dict[str, StoredLayer]:
    """Stem -> layer, for each quantized weight of a checkpoint; `tensors` are all it holds, by their names
    without the wrapper prefix.

    Raises UserError that says which format a file has when it is none of those above.
    """
    name = files[0].parent.name if len(files) > 1 else files[0].name
    if any(tensor.endswith("._data") for tensor in tensors):
        raise UserError(f"{name} has weights quantized by optimum-quanto; this format is not supported yet")
    odd = [t for t, info in tensors.items() if info.dtype not in PLAIN_DTYPES and len(info.shape) > 1]
    weights = [t for t in odd if not is_part_of_weight(t) and not ignored_reason(component, t)]
    if not weights:
        return {}
    markers, exact_matmul = read_markers(files, prefix), forbids_fp8_matmul(tensors)
    found = {}
    for tensor in weights:
        stem, _, leaf = tensor.rpartition(".")
        beside = _parts_of(stem, tensors) if leaf == WEIGHT else {}
        parts, marker = {WEIGHT: tensor, **beside}, markers.get(stem, LayerMarker())
        format = _format(name, {part: tensors[at] for part, at in parts.items()}, marker)
        rows, *rest = tensors[tensor].shape
        found[stem if leaf == WEIGHT else tensor] = StoredLayer(
            format=format,
            parts=parts,
            shape=(rows, rest[0] * _PER_BYTE) if format == NVFP4 else (rows, *rest),
            exact_matmul=exact_matmul or marker.exact_matmul,
        )
    return found


def without_parts(
    tensors: Mapping[str, TensorInfo], layers: Mapping[str, StoredLayer]
) -> dict[str, TensorInfo]:
    """The weights alone: scales and markers are left out, a packed weight has its own shape."""
    whole = {name: info for name, info in tensors.items() if not is_part_of_weight(name)}
    for layer in layers.values():
        name = layer.parts[WEIGHT]
        if name in whole:
            whole[name] = replace(whole[name], shape=layer.shape)
    return whole


def describe_weights(
    component: str, tensors: Mapping[str, TensorInfo], layers: Mapping[str, StoredLayer]
) -> StoredFormat:
    """How the weights that quantization is about are kept; `tensors` are all that the file holds."""
    weights, sizes, used = without_parts(tensors, layers), Counter[str](), 0
    linears = []
    for name, inside in names_in_module(component, weights).items():
        stem, _, leaf = inside[0].rpartition(".")
        if leaf == WEIGHT and is_quantized_linear(stem):
            layer = layers.get(name.removesuffix(f".{WEIGHT}"))
            sizes[DENSE if layer is None else layer.format] += weights[name].numel
            used += sum(tensors[part].bytes for part in (layer.parts.values() if layer else [name]))
            linears += [layer] if layer is not None else []
    main, *others = [format for format, _ in sizes.most_common()] or [DENSE]
    return StoredFormat(
        weights=main,
        others=tuple(others),
        scaled=any(layer.has_scale for layer in linears),
        layers=len(linears),
        exact_layers=sum(layer.exact_matmul for layer in linears),
        parameters=sizes.total(),
        bytes=used,
    )


def is_part_of_weight(tensor: str) -> bool:
    """Whether a tensor of that name only tells how to read the weight beside it."""
    return tensor.rpartition(".")[2] in (*_PARTS, MARKER_PART)


def _parts_of(stem: str, tensors: Mapping[str, TensorInfo]) -> dict[str, str]:
    return {part: f"{stem}.{leaf}" for leaf, part in _PARTS.items() if f"{stem}.{leaf}" in tensors}


def _format(name: str, parts: Mapping[str, TensorInfo], marker: LayerMarker) -> str:
    """The row of FORMATS. Raises UserError for what is none, or is not what its marker says."""
    weight, scale = parts[WEIGHT], parts.get("weight_scale")
    if marker.format is not None and marker.format not in FORMAT_OF_WORD:
        raise UserError(f"{name} has weights in {marker.format}; this format is not supported yet")
    marked = FORMAT_OF_WORD.get(marker.format or "")
    if weight.dtype in _FP8:
        found = _FP8[weight.dtype]
        if scale is not None:
            _check_fp8_scale(name, weight, scale)
    elif weight.dtype == "U8" and scale is not None and "weight_scale_2" in parts:
        found = NVFP4
        _check_nvfp4(name, weight, scale, marked)
    else:
        raise UserError(f"{name} has weights of type {weight.dtype}; this format is not supported yet")
    if marked not in (None, found):
        raise UserError(f"{name} is damaged: a layer marked {marker.format} holds {weight.dtype}")
    return found


def _check_fp8_scale(name: str, weight: TensorInfo, scale: TensorInfo) -> None:
    if scale.dtype not in _SCALE_DTYPES:
        raise UserError(
            f"{name} has fp8 weights with scales of type {scale.dtype} (MXFP8); not supported yet"
        )
    rows = weight.shape[0]
    if scale.numel != 1 and scale.shape not in ((rows,), (rows, *(1,) * (len(weight.shape) - 1))):
        raise UserError(f"{name} has fp8 weights with a scale per block; this format is not supported yet")


def _check_nvfp4(name: str, weight: TensorInfo, scale: TensorInfo, marked: str | None) -> None:
    """ModelOpt keeps the same names with the other nibble first: only ComfyUI's marker tells them apart."""
    rows, blocks = weight.shape[0], weight.shape[1] * _PER_BYTE // NVFP4_BLOCK
    tiled = tuple(-(-size // tile) * tile for size, tile in zip((rows, blocks), _TILE, strict=True))
    if marked is None or scale.shape != tiled or scale.dtype != "F8_E4M3":
        raise UserError(f"{name} has NVFP4 weights that are not in ComfyUI's order; not supported yet")
