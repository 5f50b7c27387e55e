"""Tensors of checkpoint files, mapped from the disk: by their names in the file, or in the module."""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from wanvideo.checkpoint.header import DAMAGED, read_tensors
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.keys import find_prefix, names_in_module, to_module, unexplained_names
from wanvideo.checkpoint.pickles import PICKLE_FAULTS, unwrap
from wanvideo.checkpoint.stored_layers import (
    NVFP4,
    NVFP4_BLOCK,
    PLAIN_DTYPES,
    WEIGHT,
    StoredLayer,
    find_stored_layers,
    is_part_of_weight,
)
from wanvideo.errors import UserError
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.stored import StoredWeight

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeight:
    """A quantized weight of a file; `shape` as in the module, but for the filling of NVFP4's last block.
    `exact_matmul`: the file forbids to multiply it in low precision.
    """

    stored: StoredWeight
    shape: tuple[int, ...]
    exact_matmul: bool = False

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether it is a weight of that shape; the last block of a row of NVFP4 may be filled up."""
        if self.stored.format != NVFP4 or len(shape) != 2:
            return self.shape == shape
        return self.shape == (shape[0], -(-shape[1] // NVFP4_BLOCK) * NVFP4_BLOCK)

    def dense(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The values of a weight of that shape; rows lose what filled their last block."""
        rows = FORMATS[self.stored.format].dequantize(self.stored, dtype)
        return rows[:, : math.prod(shape[1:])].reshape(shape)


def read_state(facts: CheckpointFacts) -> State:
    """Tensors of a whole checkpoint under their names in the file less the prefix, mapped from the disk."""
    state: State = {}
    for file in facts.files:
        state |= read_file(file)
    prefix = find_prefix(state)
    return {name.removeprefix(prefix): tensor for name, tensor in state.items()}


def read_file(path: Path) -> State:
    """Tensors of one file, mapped from the disk. Raises UserError if it is damaged."""
    if path.suffix.lower() != ".safetensors":
        return _read_pickle(path)
    with safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict


def quantized_layers(facts: CheckpointFacts) -> dict[str, StoredLayer]:
    """Stem in the file, less the prefix -> its quantized weight, as the header tells."""
    if set(facts.dtypes) <= set(PLAIN_DTYPES):
        return {}
    tensors = {name: info for file in facts.files for name, info in read_tensors(file).items()}
    bare = {name.removeprefix(facts.prefix): info for name, info in tensors.items()}
    return find_stored_layers(facts.component, facts.files, facts.prefix, bare)


def module_state(facts: CheckpointFacts, dtype: torch.dtype) -> State:
    """A checkpoint under the names of its module; what is quantized in the file is made dense in `dtype`.

    Raises UserError for a tensor that the component does not have.
    """
    state = read_state(facts)
    for layer in quantized_layers(facts).values():
        state[layer.parts[WEIGHT]] = _take(state, layer).dense(layer.shape, dtype)
    return _renamed(facts, state)


def split_state(facts: CheckpointFacts) -> tuple[State, dict[str, FoundWeight]]:
    """(plain tensors, quantized weights), both by their names in the module.

    Raises UserError for a tensor that the component does not have.
    """
    state, layers = read_state(facts), quantized_layers(facts)
    inside = names_in_module(facts.component, state)
    found: dict[str, FoundWeight] = {}
    for layer in layers.values():
        weight = _take(state, layer)
        found |= dict.fromkeys(inside.get(layer.parts[WEIGHT], ()), weight)
    return _renamed(facts, state), found


def first_names(names: Mapping[str, object] | set[str] | list[str]) -> str:
    """Up to three names, and how many more there are."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _take(state: State, layer: StoredLayer) -> FoundWeight:
    """The layer's tensors, out of `state`. Rows of a convolution are flattened; scales are fp32."""
    tensors = {part: state.pop(name) for part, name in layer.parts.items()}
    for part, tensor in tensors.items():
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensors[part] = tensor.float()
    tensors[WEIGHT] = tensors[WEIGHT].flatten(1)
    shape = (layer.shape[0], math.prod(layer.shape[1:]))
    stored = StoredWeight(format=layer.format, tensors=tensors, shape=shape)
    return FoundWeight(stored=stored, shape=layer.shape, exact_matmul=layer.exact_matmul)


def _renamed(facts: CheckpointFacts, state: State) -> State:
    plain = {name: tensor for name, tensor in state.items() if not is_part_of_weight(name)}
    unknown = unexplained_names(facts.component, plain)
    if unknown:
        raise UserError(
            f"{facts.path.name} has tensors that a {facts.component} does not have: {first_names(unknown)}"
        )
    return to_module(facts.component, plain)


def _read_pickle(path: Path) -> State:
    """Tensors of a .pth file, mapped from the disk when it is a zip; its header has been accepted before."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except PICKLE_FAULTS as error:
        raise UserError(f"{path.name} is damaged", fix=DAMAGED) from error
    return {name: value for name, value in unwrap(loaded).items() if torch.is_tensor(value)}
