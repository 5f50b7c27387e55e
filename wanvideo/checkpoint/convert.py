"""A diffusion model or an InfiniteTalk module -> one file in another quantization mode, tensor by tensor.

Names are the official ones, scales and markers ComfyUI's, so that other programs read the file too.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.keys import to_official
from wanvideo.checkpoint.layer_formats import GGUF
from wanvideo.checkpoint.markers import LAYER_MARKER, MARKED_FORMATS, marker_text
from wanvideo.checkpoint.quantized_linears import Progress, dense_found, ignore_progress, stored_for
from wanvideo.checkpoint.state import FoundWeight, State, split_state
from wanvideo.checkpoint.write import check_room, new_file
from wanvideo.errors import UserError
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import QuantizationMode

CONVERTIBLE = ("transformer", "infinitetalk")
PARTS = ("weight_scale", "weight_scale_2", "input_scale", LAYER_MARKER.removeprefix("."))
_WEIGHT = ".weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversion:
    """What to make of which checkpoint, on which device, and whether `output` may be there already."""

    source: CheckpointFacts
    output: Path
    mode: QuantizationMode
    device: torch.device | str = "cpu"
    overwrite: bool = False


def convert(job: Conversion, progress: Progress = ignore_progress) -> None:
    """Write the file of `job`; until it is whole it has another name.

    What the source has in 8 bits or fewer stays bit by bit, unless the mode is denser; so does all that is
    not quantized. `progress` gets the tensors that are written and their number, and may raise to stop.
    Raises UserError for what can't be converted, a file that is there, and a full disk.
    """
    check_conversion(job)
    state, found = split_state(job.source)
    official = _official_names(job.source.component, [*state, *found])
    names = [n for name in official.values() for n in _possible_names(name)]
    with new_file(job.output, names, {"format": "pt", "quantization": job.mode.name}) as writer:
        for done, (name, written) in enumerate(official.items()):
            progress(done, len(official))
            for key, tensor in _tensors(job, name, written, state, found):
                writer.add(key, tensor)
        progress(len(official), len(official))


def check_conversion(job: Conversion) -> None:
    """Raises UserError for what `convert` would refuse."""
    source, output = job.source, job.output
    if source.component not in CONVERTIBLE:
        raise UserError(
            f"Only diffusion models and InfiniteTalk modules are converted, not a {source.component}"
        )
    if GGUF in (source.stored.weights, *source.stored.others):
        raise UserError(
            f"{source.path.name} is a GGUF file: its weights stay as they are, and no mode is made of them",
            fix="Convert the bf16, fp16 or fp8 release",
        )
    if output.suffix.lower() != ".safetensors":
        raise UserError("The converted file must be named .safetensors", value=output.name)
    if not output.parent.is_dir():
        raise UserError("This folder does not exist", value=str(output.parent))
    if output.resolve() in {file.resolve() for file in source.files}:
        raise UserError("The converted file would replace the one it is made of", value=str(output))
    if output.exists() and not job.overwrite:
        raise UserError("This file exists already", value=str(output), fix="--overwrite replaces it.")
    check_room(output.parent, source.bytes_in(job.mode))


def _tensors(
    job: Conversion, name: str, written: str, state: State, found: dict[str, FoundWeight]
) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of all that is written for the tensor `name` of the module, which is used up."""
    is_linear = name.endswith(_WEIGHT) and is_quantized_linear(name.removesuffix(_WEIGHT))
    if not is_linear and name in state:
        yield written, state.pop(name)
        return
    weight = found.pop(name) if name in found else dense_found(state.pop(name))
    here = weight.stored_on(job.device if is_linear else "cpu")
    stored = stored_for(job.mode, here, job.device) if is_linear else here
    stem = written.removesuffix(_WEIGHT)
    for part, tensor in stored.tensors.items():
        if part == "weight":
            is_packed = tensor.numel() != math.prod(
                weight.shape
            )  # else a convolution may have been flattened
            yield written, tensor if is_packed else tensor.reshape(weight.shape)
        else:
            yield f"{stem}.{part}", tensor
    if stored.format in MARKED_FORMATS and "weight_scale" in stored.tensors:
        text = marker_text(stored.format, weight.exact_matmul)
        yield stem + LAYER_MARKER, torch.tensor(list(text), dtype=torch.uint8)


def _official_names(component: str, names: Iterable[str]) -> dict[str, str]:
    """Name in the module -> official name, in the latter's order. These components are renamed, never cut or
    reshaped.
    """
    empty = {name: torch.empty(0, device="meta") for name in names}
    places = {id(tensor): name for name, tensor in empty.items()}
    official = to_official(component, empty)
    return {places[id(tensor)]: name for name, tensor in sorted(official.items())}


def _possible_names(written: str) -> list[str]:
    stem = written.removesuffix(_WEIGHT)
    return [written, *(f"{stem}.{part}" for part in PARTS)] if written.endswith(_WEIGHT) else [written]
