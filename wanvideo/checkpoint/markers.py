"""What a file says of its own quantization: ComfyUI's markers per layer, and the one for a whole file."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.header import DAMAGED, read_metadata, read_small_tensors
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.errors import UserError

LAYER_MARKER = ".comfy_quant"
FILE_MARKER = "scaled_fp8"
FILE_METADATA = "_quantization_metadata"
FORMAT_OF_WORD = {"float8_e4m3fn": "e4m3", "float8_e5m2": "e5m2", "nvfp4": "nvfp4"}
MARKED_FORMATS = frozenset(FORMAT_OF_WORD.values())  # the rows of FORMATS that have a word
_EXACT = 2  # elements of `scaled_fp8` in a file that must not be multiplied in fp8


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMarker:
    """What is said of one layer: ComfyUI's word for the format, and whether it forbids a matmul in low
    precision (`full_precision_matrix_mult`).
    """

    format: str | None = None
    exact_matmul: bool = False


def read_markers(files: Iterable[Path], prefix: str) -> dict[str, LayerMarker]:
    """Stem, without the wrapper prefix -> marker. Raises UserError for one that can't be read."""
    found: dict[str, LayerMarker] = {}
    for file in files:
        written = _of_metadata(file) | {
            name.removesuffix(LAYER_MARKER): _parse(file, text)
            for name, text in read_small_tensors(file, LAYER_MARKER).items()
        }
        found |= {stem.removeprefix(prefix): _marker(file, values) for stem, values in written.items()}
    return found


def forbids_fp8_matmul(tensors: Mapping[str, TensorInfo]) -> bool:
    """Whether the marker of the whole file does, as Kijai's files may."""
    return FILE_MARKER in tensors and tensors[FILE_MARKER].numel == _EXACT


def marker_text(format: str, exact_matmul: bool) -> bytes:
    """The content of a layer's marker for a row of FORMATS, in ComfyUI's own words."""
    words = {name: word for word, name in FORMAT_OF_WORD.items()}
    exact = {"full_precision_matrix_mult": True} if exact_matmul else {}
    return json.dumps({"format": words[format], **exact}).encode()


def _of_metadata(file: Path) -> dict[str, Any]:
    text = read_metadata(file).get(FILE_METADATA)
    layers = {} if text is None else _parse(file, text).get("layers", {})
    return layers if isinstance(layers, dict) else {}


def _parse(file: Path, text: bytes | str) -> Any:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(file) from error
    if not isinstance(parsed, dict):
        raise _damaged(file)
    return parsed


def _marker(file: Path, values: Any) -> LayerMarker:
    if not isinstance(values, dict) or not isinstance(values.get("format"), str):
        raise _damaged(file)
    exact = values.get("full_precision_matrix_mult", False)
    return LayerMarker(format=values["format"], exact_matmul=bool(exact))


def _damaged(file: Path) -> UserError:
    return UserError(f"The quantization marker of {file.name} is damaged", fix=DAMAGED)
