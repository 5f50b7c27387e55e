"""What a LoRA file does to one diffusion model, from the headers of both alone."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

from wanvideo.checkpoint.header import DAMAGED, read_metadata, read_tensors
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.keys import names_in_module
from wanvideo.checkpoint.lora_names import (
    ALPHA,
    BIAS,
    DOWN,
    MODULATION,
    UP,
    WEIGHT,
    find_layers,
    modulation_names,
    other_kind,
    read_name,
)
from wanvideo.checkpoint.lora_recipes import Recipe, recipe_of
from wanvideo.checkpoint.stored_layers import find_stored_layers, without_parts
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.errors import UserError
from wanvideo.quantization.which import is_quantized_linear

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRank:
    """Names in the file of the two factors, down (rank, in ...) and up (out, rank ...), and of alpha."""

    down: str
    up: str
    alpha: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraFacts:
    """What a file holds for one model, by the model's own names.

    `branches`: linear -> the factors that stand beside it. `products`: parameter -> factors whose product is
    added to it, for what is no linear. `differences`: parameter -> the tensor that is added to it. `homeless`
    are tensors of layers that the model lacks, `misfits` those whose layer has other sizes. `stamp`: time and
    size of the file.
    """

    name: str
    path: Path
    stamp: tuple[int, int]
    branches: Mapping[str, LowRank]
    products: Mapping[str, LowRank]
    differences: Mapping[str, str]
    homeless: tuple[str, ...] = ()
    misfits: tuple[str, ...] = ()
    recipe: Recipe | None = None

    @property
    def full_weights(self) -> list[str]:
        """The big linears that it changes as a whole, which weights of 8 or 4 bits can't take."""
        layers = (parameter.removesuffix(".weight") for parameter in self.differences)
        return sorted(layer for layer in layers if is_quantized_linear(layer))


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraUse:
    """A LoRA with its strength: a number, or one per step of the schedule."""

    facts: LoraFacts
    strength: float | tuple[float, ...] = 1.0

    def strength_at(self, step: int) -> float:
        """The strength in a step; a short list goes on with its last value."""
        if isinstance(self.strength, tuple):
            return self.strength[min(step, len(self.strength) - 1)]
        return self.strength


def inspect_lora(path: Path, name: str, shapes: Shapes) -> LoraFacts:
    """What the file at `path`, called `name`, does to a model whose parameters have these `shapes`.

    Raises UserError for a damaged file, for one that is no LoRA, and for one that fits no layer.
    """
    status = path.stat()
    stamp = status.st_mtime_ns, status.st_size
    tensors, metadata = _read(path, stamp)
    if (kind := other_kind(tensors)) is not None:
        raise UserError(f"{name} is a {kind} file; LoRAs of this kind are not supported")
    if not any(read_name(tensor) for tensor in tensors):
        raise UserError(f"{name} is not a LoRA: {_first(tensors)} are no names of one")
    reader = _Reader(tensors, shapes)
    if not (reader.branches or reader.products or reader.differences):
        raise _unfit(name, reader)
    return LoraFacts(
        name=name,
        path=path,
        stamp=stamp,
        branches=reader.branches,
        products=reader.products,
        differences=reader.differences,
        homeless=tuple(sorted(reader.homeless)),
        misfits=tuple(sorted(reader.misfits)),
        recipe=recipe_of(name, metadata),
    )


def parameter_shapes(checkpoints: Iterable[CheckpointFacts]) -> dict[str, tuple[int, ...]]:
    """Parameter -> shape of the module that these files make: a diffusion model, and its audio module."""
    shapes: dict[str, tuple[int, ...]] = {}
    for facts in checkpoints:
        times = tuple(file.stat().st_mtime_ns for file in facts.files)
        shapes |= _shapes(facts.component, facts.files, facts.prefix, times)
    return shapes


def leftovers(facts: LoraFacts) -> list[str]:
    """A sentence for what of a LoRA is left out, without a full stop."""
    told = (
        (facts.homeless, "have no place in this model"),
        (facts.misfits, "have another shape than in this model"),
    )
    return [
        f"LoRA {facts.name}: {len(names)} of its tensors {why} and are left out: {_first(names)}"
        for names, why in told
        if names
    ]


class _Reader:
    """Sorts the tensors of a file by what they do."""

    def __init__(self, tensors: Mapping[str, TensorInfo], shapes: Shapes) -> None:
        self.tensors, self.shapes = tensors, shapes
        self.branches: dict[str, LowRank] = {}
        self.products: dict[str, LowRank] = {}
        self.differences: dict[str, str] = {}
        self.homeless: list[str] = []
        self.misfits: list[str] = []
        by_layer: dict[str, dict[str, str]] = defaultdict(dict)
        for tensor in tensors:
            spelled = read_name(tensor)
            if spelled is None or spelled.role in by_layer[spelled.layer]:
                self.homeless.append(tensor)
            else:
                by_layer[spelled.layer][spelled.role] = tensor
        names = {name for flat in by_layer for name in (flat, *modulation_names(flat))}
        layers = find_layers(names, shapes)
        for flat, roles in by_layer.items():
            self._read_layer(roles, layers.get(flat), _modulation(flat, layers))

    def _read_layer(self, roles: dict[str, str], layer: str | None, modulation: str | None) -> None:
        if MODULATION in roles:
            self._add_difference(roles.pop(MODULATION), modulation)
        for role in (WEIGHT, BIAS):
            if role in roles:
                self._add_difference(roles.pop(role), self._parameter(layer, role))
        if not roles:
            return
        weight = self._parameter(layer, WEIGHT)
        if weight is None or not {DOWN, UP} <= roles.keys():
            self.homeless += roles.values()
        elif not self._fits(roles[DOWN], roles[UP], self.shapes[weight]):
            self.misfits += roles.values()
        else:
            alpha = roles.get(ALPHA)
            if alpha is not None and self.tensors[alpha].numel != 1:
                raise UserError(f"the LoRA is damaged: {alpha} is no number", fix=DAMAGED)
            pair = LowRank(down=roles[DOWN], up=roles[UP], alpha=alpha)
            is_linear = weight.endswith(f".{WEIGHT}") and len(self.shapes[weight]) == 2
            if is_linear:
                self.branches[weight.removesuffix(f".{WEIGHT}")] = pair
            else:
                self.products[weight] = pair

    def _add_difference(self, tensor: str, parameter: str | None) -> None:
        if parameter is None:
            self.homeless.append(tensor)
        elif _bare(self.tensors[tensor].shape) != _bare(self.shapes[parameter]):
            self.misfits.append(tensor)
        else:
            self.differences[parameter] = tensor

    def _parameter(self, layer: str | None, leaf: str) -> str | None:
        """The parameter that a tensor for `layer` means; a modulation has no leaf."""
        names = (f"{layer}.{leaf}", layer if leaf == WEIGHT else None)
        return next((name for name in names if name is not None and name in self.shapes), None)

    def _fits(self, down: str, up: str, shape: tuple[int, ...]) -> bool:
        """down (rank, in ...) and up (out, rank, 1 ...) for a weight (out, in ...)."""
        narrow, wide = self.tensors[down].shape, self.tensors[up].shape
        if len(narrow) < 2 or len(wide) < 2 or len(shape) < 2:
            return False
        inner = _bare(narrow[1:]) == _bare(shape[1:])
        return inner and (wide[0], wide[1]) == (shape[0], narrow[0]) and not _bare(wide[2:])


@cache
def _read(path: Path, stamp: tuple[int, int]) -> tuple[dict[str, TensorInfo], dict[str, str]]:  # noqa: ARG001 - part of the key
    return read_tensors(path), read_metadata(path)


@cache
def _shapes(
    component: str,
    files: tuple[Path, ...],
    prefix: str,
    times: tuple[int, ...],  # noqa: ARG001 - part of the key
) -> dict[str, tuple[int, ...]]:
    tensors = {name: info for file in files for name, info in read_tensors(file).items()}
    bare = {name.removeprefix(prefix): info for name, info in tensors.items()}
    weights = without_parts(bare, find_stored_layers(component, files, prefix, bare))
    inside = names_in_module(component, weights)
    return {own: weights[name].shape for name, names in inside.items() for own in names}


def _modulation(flat: str, layers: Mapping[str, str]) -> str | None:
    names = (layers.get(name) for name in modulation_names(flat))
    return next((name for name in names if name is not None), None)


def _bare(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _unfit(name: str, reader: _Reader) -> UserError:
    if reader.misfits:
        return UserError(f"LoRA {name} is for a model of another size: {_first(sorted(reader.misfits))}")
    return UserError(f"LoRA {name} has no layer of this model: {_first(sorted(reader.homeless))}")


def _first(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (f" and {len(listed) - 3} more" if len(listed) > 3 else "")
