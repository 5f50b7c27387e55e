"""Tensors of checkpoint files, mapped from the disk: by their names in the file, or in the module."""

import logging
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wanvideo.checkpoint.header import DAMAGED, is_gguf, read_gguf, read_tensors
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.keys import names_in_module, to_module, unexplained_names
from wanvideo.checkpoint.layer_formats import GLOBAL_SCALE, NVFP4, NVFP4_BLOCK, SCALE, WEIGHT, Nvfp4Order
from wanvideo.checkpoint.mapped import map_file, map_safetensors, piece_of
from wanvideo.checkpoint.pickles import PICKLE_FAULTS, unwrap
from wanvideo.checkpoint.stored_layers import (
    PLAIN_DTYPES,
    StoredLayer,
    find_stored_layers,
    is_part_of_weight,
)
from wanvideo.errors import UserError
from wanvideo.quantization import nvfp4, nvfp4_layout
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.stored import StoredWeight

log = logging.getLogger(__name__)

State = dict[str, Tensor]
CHECKED_ELEMENTS = 1 << 20  # norms, biases and scales; a look at every weight would read the file twice
_LARGEST_NVFP4 = 448 * 6  # e4m3's largest times e2m1's


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWeight:
    """A quantized weight of a file; `shape` as in the module, but for the filling of NVFP4's last block.
    `stored` is mapped from the disk, and in the file's own `order` if it is NVFP4. `exact_matmul`: the file
    forbids to multiply it in low precision.
    """

    stored: StoredWeight
    shape: tuple[int, ...]
    exact_matmul: bool = False
    order: Nvfp4Order = Nvfp4Order()

    def holds(self, shape: tuple[int, ...]) -> bool:
        """Whether it is a weight of that shape; the last block of a row of NVFP4 may be filled up."""
        if self.stored.format != NVFP4 or len(shape) != 2:
            return self.shape == shape
        return self.shape == (shape[0], -(-shape[1] // NVFP4_BLOCK) * NVFP4_BLOCK)

    def stored_on(self, device: torch.device | str) -> StoredWeight:
        """The weight on that device, in the order that `quantization` knows."""
        tensors = {name: tensor.to(device) for name, tensor in self.stored.tensors.items()}
        return _in_own_order(replace(self.stored, tensors=tensors), self.order)

    def dense(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """The values of a weight of that shape; rows lose what filled their last block."""
        rows = FORMATS[self.stored.format].dequantize(self.stored_on("cpu"), dtype)
        return rows[:, : math.prod(shape[1:])].reshape(shape)


def read_state(facts: CheckpointFacts) -> State:
    """Tensors of a whole checkpoint under their names in the file less the prefix, mapped from the disk."""
    state: State = {}
    for file in facts.files:
        state |= read_file(file)
    return {name.removeprefix(facts.prefix): tensor for name, tensor in state.items()}


def read_file(path: Path) -> State:
    """Tensors of one file, mapped from the disk; those of GGUF's block types as bytes (rows, bytes of a row).

    Raises UserError if it is damaged.
    """
    if is_gguf(path):
        return _read_gguf(path)
    if path.suffix.lower() != ".safetensors":
        return _read_pickle(path)
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a dict
    except SafetensorError as error:  # it allows no gaps between tensors
        raise UserError(f"{path.name} is damaged: {error}", fix=DAMAGED) from error
    except RuntimeError as error:  # of mapping a file that is larger than the memory
        log.info("%s is mapped without reserve: %s", path.name, error)
        return map_safetensors(path)


def quantized_layers(facts: CheckpointFacts) -> list[StoredLayer]:
    """The quantized weights, as the header tells."""
    if set(facts.dtypes) <= set(PLAIN_DTYPES):
        return []
    tensors = {name: info for file in facts.files for name, info in read_tensors(file).items()}
    bare = {name.removeprefix(facts.prefix): info for name, info in tensors.items()}
    return find_stored_layers(facts.component, facts.files, facts.prefix, bare)


def module_state(facts: CheckpointFacts, dtype: torch.dtype) -> State:
    """A checkpoint under the names of its module; what is quantized in the file is made dense in `dtype`.

    Raises UserError for a tensor that the component does not have, and for one that holds no numbers.
    """
    state = read_state(facts)
    for layer in quantized_layers(facts):
        state[layer.name] = _take(facts, state, layer).dense(layer.shape, dtype)
    return _renamed(facts, state)


def split_state(facts: CheckpointFacts) -> tuple[State, dict[str, FoundWeight]]:
    """(plain tensors, quantized weights), both by their names in the module.

    Raises UserError for a tensor that the component does not have, and for one that holds no numbers.
    """
    state, layers = read_state(facts), quantized_layers(facts)
    quantized = {layer.name: _take(facts, state, layer) for layer in layers}
    plain = [name for name in state if not is_part_of_weight(name)]
    inside = names_in_module(facts.component, [*plain, *quantized]) if quantized else {}
    found: dict[str, FoundWeight] = {}
    for name, weight in quantized.items():
        found |= dict.fromkeys(inside.get(name, ()), weight)
    return _renamed(facts, state), found


def first_names(names: Mapping[str, object] | set[str] | list[str]) -> str:
    """Up to three names, and how many more there are."""
    listed = sorted(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")


def _take(facts: CheckpointFacts, state: State, layer: StoredLayer) -> FoundWeight:
    """The layer's tensors, out of `state`. Rows of a convolution are flattened; scales are fp32."""
    tensors = {part: state.pop(name) for part, name in layer.parts.items()}
    for part, tensor in tensors.items():
        if tensor.dtype in (torch.bfloat16, torch.float16):
            tensors[part] = tensor.float()
        if part != WEIGHT:
            _check_numbers(facts, layer.parts[part], tensor)
    tensors[WEIGHT] = tensors[WEIGHT].flatten(1)
    shape = (layer.shape[0], math.prod(layer.shape[1:]))
    stored = StoredWeight(format=layer.format, tensors=tensors, shape=shape, kind=layer.kind)
    return FoundWeight(stored=stored, shape=layer.shape, exact_matmul=layer.exact_matmul, order=layer.order)


def _in_own_order(stored: StoredWeight, order: Nvfp4Order) -> StoredWeight:
    """NVFP4 of other programs as ComfyUI has it. No code and no block scale changes; LightX2V's tensor scale
    divides, and instead of one for the input it keeps the input's largest size.
    """
    if not order.low_nibble_first:
        return stored
    parts = dict(stored.tensors)
    scales = parts[SCALE]
    if not order.scales_in_rows:
        rows, packed = parts[WEIGHT].shape
        scales = nvfp4_layout.unswizzle(scales, rows, packed * 2 // NVFP4_BLOCK)
    scale = 1 / parts[GLOBAL_SCALE] if GLOBAL_SCALE in parts else parts["weight_scale_2"]
    largest = parts.get("input_absmax")
    input_scale = parts.get("input_scale") if largest is None else largest / _LARGEST_NVFP4
    repacked = nvfp4.from_low_nibble_first(parts[WEIGHT], scales, scale, input_scale)
    return replace(repacked, shape=stored.shape)


def _renamed(facts: CheckpointFacts, state: State) -> State:
    plain = {name: tensor for name, tensor in state.items() if not is_part_of_weight(name)}
    unknown = unexplained_names(facts.component, plain)
    if unknown:
        raise UserError(
            f"{facts.path.name} has tensors that a {facts.component} does not have: {first_names(unknown)}"
        )
    for name, tensor in plain.items():
        _check_numbers(facts, name, tensor)
    return to_module(facts.component, plain)


def _check_numbers(facts: CheckpointFacts, name: str, tensor: Tensor) -> None:
    """Raises UserError for a small tensor with a value that is none."""
    if not 0 < tensor.numel() <= CHECKED_ELEMENTS or not tensor.is_floating_point() or tensor.is_meta:
        return
    values = tensor.float() if tensor.dtype.itemsize == 1 else tensor
    if not all(math.isfinite(end) for end in values.aminmax()):  # NaN is both; isfinite() takes five ops
        raise UserError(
            f"{facts.path.name} is damaged: the tensor {name} holds values that are no numbers", fix=DAMAGED
        )


def _read_gguf(path: Path) -> State:
    tensors = read_gguf(path)
    content = map_file(path)
    return {name: piece_of(content, tensor) for name, tensor in tensors.items()}


def _read_pickle(path: Path) -> State:
    """Tensors of a .pth file, mapped from the disk when it is a zip; its header has been accepted before."""
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except PICKLE_FAULTS as error:
        raise UserError(f"{path.name} is damaged", fix=DAMAGED) from error
    return {str(name): value for name, value in unwrap(loaded).items() if torch.is_tensor(value)}
