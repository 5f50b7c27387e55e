"""Checkpoint files of the published sizes with random weights, under the official names.

Weights are drawn on the card one by one and go straight into the file; a model is never in memory. Those of
transformers are the same as in `random_model`.
"""

import logging
import math
import shutil
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measuring import device
from benchmarks.random_model import BIAS_STD, OTHER_GAIN, draw
from benchmarks.random_sizes import PUBLISHED_FILES, TINY_FILES, RandomFile
from wanvideo.checkpoint.keys import names_in_module, to_official
from wanvideo.checkpoint.markers import LAYER_MARKER, MARKED_FORMATS, marker_text
from wanvideo.checkpoint.write import check_room, new_file
from wanvideo.models.precision import keeps_fp32
from wanvideo.prepare import POCKET
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import QuantizationMode, quantization_modes

DENSE = "disabled"
PARTS = ("weight_scale", "weight_scale_2", LAYER_MARKER.removeprefix("."))
LANDING_BYTES = 256 << 20  # more than any weight of a block has
TOKENIZER = "spiece.model"
log = logging.getLogger("benchmarks")


def write_files(names: Iterable[str], folder: Path, mode: str, *, quick: bool) -> dict[str, Path]:
    """Name -> its file in `folder`, with the tokenizer beside it; one that is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(POCKET / TOKENIZER, folder / TOKENIZER)
    files = TINY_FILES if quick else PUBLISHED_FILES
    paths = {name: files[name].path(folder, mode) for name in names}
    for name, path in paths.items():
        if not path.exists():
            check_room(folder, _bytes_of(files[name], quantization_modes()[mode]))
            begun = time.perf_counter()
            write_file(files[name], path, quantization_modes()[mode])
            seconds, size = time.perf_counter() - begun, path.stat().st_size / 1e9
            log.info("    %s: %.1f GB written in %.1f s", path.name, size, seconds)
    return paths


@torch.no_grad()
def write_file(file: RandomFile, path: Path, mode: QuantizationMode) -> None:
    """Write one file, the big linears of a transformer as `mode` stores them."""
    shapes = _official_shapes(file)
    inside = names_in_module(file.component, shapes)
    names = [written for name in shapes for written in _possible_names(name)]
    landing = torch.empty(LANDING_BYTES, dtype=torch.uint8, pin_memory=device() == "cuda")
    with new_file(path, names, {"format": "pt"}) as writer:
        for name, shape in shapes.items():
            if file.audio is None:
                writer.add(name, _landed(random_values(name, shape, file.dtype), landing))
                continue
            weight = draw(inside[name][0], shape)
            quantized = _is_quantized(inside[name][0], mode)
            for part, tensor in _quantized(name, weight, mode) if quantized else [(name, weight)]:
                writer.add(part, _landed(tensor, landing))


def random_values(name: str, shape: torch.Size, dtype: torch.dtype) -> Tensor:
    """Values of an encoder or a VAE, at which its output stays finite: gains are one, all else is scaled by
    what is added up.
    """
    generator = torch.Generator(device()).manual_seed(zlib.crc32(name.encode()))
    if name.endswith((".gamma", ".weight_g")) or ("norm" in name and name.endswith(".weight")):
        return torch.ones(shape, dtype=dtype, device=device())
    tensor = torch.randn(shape, generator=generator, dtype=dtype, device=device())
    return tensor.mul_(BIAS_STD if len(shape) == 1 else OTHER_GAIN / math.sqrt(math.prod(shape[1:])))


def _bytes_of(file: RandomFile, mode: QuantizationMode) -> int:
    """Of the file, but for scales and the header."""
    shapes = _official_shapes(file)
    inside = names_in_module(file.component, shapes)

    def per_weight(name: str) -> float:
        if file.audio is None:
            return file.dtype.itemsize
        quantized = _is_quantized(inside[name][0], mode)
        return mode.bytes_per_weight if quantized else 4 if keeps_fp32(inside[name][0]) else 2

    return int(sum(math.prod(shape) * per_weight(name) for name, shape in shapes.items()))


def _is_quantized(name: str, mode: QuantizationMode) -> bool:
    stem = name.removesuffix(".weight")
    return mode.store is not None and stem != name and is_quantized_linear(stem)


def _official_shapes(file: RandomFile) -> dict[str, torch.Size]:
    """Names and shapes of the published file."""
    with torch.device("meta"):
        state = dict(file.build().state_dict())
    official = to_official("transformer" if file.audio is not None else file.component, state)
    return {
        name: tensor.shape
        for name, tensor in official.items()
        if file.audio is None or _is_audio(name) == file.audio
    }


def _is_audio(name: str) -> bool:
    return "audio_" in name or ".norm_x." in name


def _possible_names(name: str) -> list[str]:
    stem = name.removesuffix(".weight")
    return [name, *(f"{stem}.{part}" for part in PARTS)] if stem != name else [name]


def _quantized(name: str, weight: Tensor, mode: QuantizationMode) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of payload, scales and ComfyUI's marker, as `convert` writes them."""
    assert mode.store is not None
    stored, stem = mode.store(weight), name.removesuffix(".weight")
    for part, tensor in stored.tensors.items():
        yield f"{stem}.{part}", tensor
    if stored.format in MARKED_FORMATS and "weight_scale" in stored.tensors:
        yield stem + LAYER_MARKER, torch.tensor(list(marker_text(stored.format, False)), dtype=torch.uint8)


def _landed(tensor: Tensor, landing: Tensor) -> Tensor:
    """The tensor in main memory, by way of page-locked memory; what is larger than that goes by itself."""
    size = tensor.numel() * tensor.element_size()
    if size > landing.numel():
        return tensor
    return landing[:size].view(tensor.dtype).view(tensor.shape).copy_(tensor)
