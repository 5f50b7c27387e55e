"""How a file keeps each quantized weight, from names, dtypes and shapes alone.

    plain fp8             X.weight in fp8, nothing beside it
    ComfyUI, LightX2V     X.weight_scale, X.input_scale, X.comfy_quant (JSON); X.weight in fp8 or int8
    Kijai, older ComfyUI  X.scale_weight, X.scale_input; one tensor `scaled_fp8` for the whole file
    NVFP4                 X.weight uint8, two a byte; X.weight_scale; X.weight_scale_2 (see layer_formats)
    optimum-quanto        X.weight._data in int8 or fp8, X.weight._scale; a JSON file beside it adds nothing
    GGUF                  X.weight in blocks that hold their own scales

The parts are called as ComfyUI calls them; what a value means is `quantization.formats`' to know.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from wanvideo.checkpoint.keys import ignored_reason, names_in_module
from wanvideo.checkpoint.layer_formats import (
    GGUF,
    NVFP4,
    SCALE,
    WEIGHT,
    Nvfp4Order,
    find_nvfp4_order,
    format_of,
    shape_of,
)
from wanvideo.checkpoint.markers import FORMAT_OF_WORD, LayerMarker, forbids_fp8_matmul, read_markers
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.effective_mode import DENSE, StoredFormat
from wanvideo.errors import UserError
from wanvideo.quantization.gguf_types import BLOCK_TYPES
from wanvideo.quantization.which import is_quantized_linear

PLAIN_DTYPES = ("F64", "F32", "F16", "BF16")
_PARTS = {  # name beside the layer in a file -> name in StoredWeight.tensors, or what that is made of
    "weight_scale": SCALE,
    "scale_weight": SCALE,
    "weight_scale_2": "weight_scale_2",
    "weight_global_scale": "weight_global_scale",
    "input_scale": "input_scale",
    "scale_input": "input_scale",
    "input_absmax": "input_absmax",
}
_MARKER = "comfy_quant"
_QUANTO_WEIGHT, _QUANTO_SCALE = f"{WEIGHT}._data", f"{WEIGHT}._scale"
# Beside a layer, and not needed: quanto's scales of activations are 1 where activations are not quantized.
_UNUSED = ("_scale", "_shift", "output_scale")
_BESIDE = frozenset((*_PARTS, *_UNUSED, _MARKER))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLayer:
    """The weight of one layer that is not plain floating point.

    `name` is what it would be called if it were. `format` is a row of `quantization.formats.FORMATS`, `kind`
    its type where the format has several. `parts`: name in `StoredWeight.tensors` -> name in the file.
    `shape` is that of the weight itself, not of its packing. `exact_matmul`: the file forbids to multiply it
    in low precision. `order` is that of NVFP4.
    """

    name: str
    format: str
    kind: str = ""
    parts: Mapping[str, str]
    shape: tuple[int, ...]
    exact_matmul: bool = False
    order: Nvfp4Order = Nvfp4Order()

    @property
    def has_scale(self) -> bool:
        """Whether the file brings a scale for the weight."""
        return SCALE in self.parts


def find_stored_layers(
    component: str, files: Sequence[Path], prefix: str, tensors: Mapping[str, TensorInfo]
) -> list[StoredLayer]:
    """Each quantized weight of a checkpoint; `tensors` are all it holds, by their names without the wrapper
    prefix.

    Raises UserError that says which format a file has when it is none of those above.
    """
    file = files[0].parent.name if len(files) > 1 else files[0].name
    weights = [
        name
        for name, info in tensors.items()
        if _is_odd(info) and not is_part_of_weight(name) and not ignored_reason(component, name)
    ]
    if not weights:
        return []
    markers, exact_matmul = read_markers(files, prefix), forbids_fp8_matmul(tensors)
    found = []
    for tensor in weights:
        stem, parts = _parts_of(file, tensor, tensors)
        marker = markers.get(stem, LayerMarker())
        format = format_of(file, {part: tensors[name] for part, name in parts.items()}, marker)
        weight = tensors[tensor]
        found.append(
            StoredLayer(
                name=tensor.removesuffix("._data"),
                format=format,
                kind=weight.dtype if format == GGUF else "",
                parts=parts,
                shape=shape_of(format, weight),
                exact_matmul=exact_matmul or marker.exact_matmul,
            )
        )
    return _with_order(file, found, tensors, markers)


def without_parts(tensors: Mapping[str, TensorInfo], layers: Sequence[StoredLayer]) -> dict[str, TensorInfo]:
    """The weights alone: scales and markers are left out, a packed weight has its own name and shape."""
    whole = {name: info for name, info in tensors.items() if not is_part_of_weight(name)}
    for layer in layers:
        info = whole.pop(layer.parts[WEIGHT], None)
        if info is not None:
            whole[layer.name] = replace(info, shape=layer.shape)
    return whole


def describe_weights(
    component: str, tensors: Mapping[str, TensorInfo], layers: Sequence[StoredLayer]
) -> StoredFormat:
    """How the weights that quantization is about are kept; `tensors` are all that the file holds."""
    weights, sizes, kinds, used = without_parts(tensors, layers), Counter[str](), Counter[str](), 0
    by_name, linears = {layer.name: layer for layer in layers}, []
    matrices = [name for name, info in weights.items() if len(info.shape) == 2 and name.endswith(WEIGHT)]
    for name, inside in names_in_module(component, matrices).items():
        stem, _, leaf = inside[0].rpartition(".")
        if leaf == WEIGHT and is_quantized_linear(stem):
            layer = by_name.get(name)
            sizes[DENSE if layer is None else layer.format] += weights[name].numel
            used += sum(tensors[part].bytes for part in (layer.parts.values() if layer else [name]))
            if layer is not None:
                linears.append(layer)
                kinds[layer.kind] += weights[name].numel
    main, *others = [format for format, _ in sizes.most_common()] or [DENSE]
    return StoredFormat(
        weights=main,
        kind=kinds.most_common(1)[0][0] if kinds else "",
        others=tuple(others),
        scaled=any(layer.has_scale for layer in linears),
        layers=len(linears),
        exact_layers=sum(layer.exact_matmul for layer in linears),
        parameters=sizes.total(),
        bytes=used,
    )


def is_part_of_weight(tensor: str) -> bool:
    """Whether a tensor of that name only tells how to read the weight beside it."""
    return tensor.rpartition(".")[2] in _BESIDE


def _is_odd(info: TensorInfo) -> bool:
    return info.dtype in BLOCK_TYPES or (info.dtype not in PLAIN_DTYPES and len(info.shape) > 1)


def _parts_of(file: str, tensor: str, tensors: Mapping[str, TensorInfo]) -> tuple[str, dict[str, str]]:
    """(stem of the layer, its parts)."""
    if tensor.endswith(_QUANTO_WEIGHT):
        stem = tensor.removesuffix(f".{_QUANTO_WEIGHT}")
        if f"{stem}.{_QUANTO_SCALE}" not in tensors or tensors[tensor].dtype == "U8":
            raise UserError(f"{file} has weights of optimum-quanto in fewer than 8 bits; not supported yet")
        return stem, {WEIGHT: tensor, SCALE: f"{stem}.{_QUANTO_SCALE}"}
    stem, _, leaf = tensor.rpartition(".")
    if leaf != WEIGHT:
        return tensor, {WEIGHT: tensor}
    beside = {part: f"{stem}.{name}" for name, part in _PARTS.items() if f"{stem}.{name}" in tensors}
    return stem, {WEIGHT: tensor, **beside}


def _with_order(
    file: str,
    layers: list[StoredLayer],
    tensors: Mapping[str, TensorInfo],
    markers: Mapping[str, LayerMarker],
) -> list[StoredLayer]:
    packed = [layer for layer in layers if layer.format == NVFP4]
    if not packed:
        return layers
    parts = [{part: tensors[name] for part, name in layer.parts.items()} for layer in packed]
    is_marked = any(FORMAT_OF_WORD.get(marker.format or "") == NVFP4 for marker in markers.values())
    order = find_nvfp4_order(file, parts, is_marked)
    return [replace(layer, order=order) if layer.format == NVFP4 else layer for layer in layers]
