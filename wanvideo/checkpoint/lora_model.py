"""LoRAs on a loaded model: put on and taken off while its weights stay, bit by bit, what they were.

Factors stand beside their linear as branches. What is no pair of factors for a linear (differences of norms,
biases, modulation, whole weights, and products for a convolution) is added to the parameter itself, whose
values as they were loaded are kept on the host. A model remembers what is on it: only the difference between
that and what a job wants is done.
"""

import logging
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor, nn

from wanvideo.checkpoint.lora import LoraFacts, LoraUse, LowRank
from wanvideo.checkpoint.state import State, read_file
from wanvideo.errors import UserError
from wanvideo.models.projections import find_rows
from wanvideo.quantization.linear import BranchedLinear, QLinear
from wanvideo.quantization.lora import LoraSite

log = logging.getLogger(__name__)
Say: TypeAlias = Callable[[str], None]
_Key: TypeAlias = tuple[object, ...]


def wear_loras(model: nn.Module, wanted: Sequence[LoraUse], say: Say) -> None:
    """Make `wanted`, in this order, the LoRAs on the model, at their strengths of the first step.

    To be called while all weights are in their places, with nothing compiled or swapped. Whatever is raised,
    by `say` as well, leaves the model with no LoRA at all.
    """
    wardrobe = _WARDROBES.setdefault(model, _Wardrobe())
    try:
        wardrobe.change(model, wanted, say)
    except BaseException:
        wardrobe.empty(model)
        raise


def set_lora_step(model: nn.Module, step: int) -> None:
    """Give every LoRA on the model its strength in that step of the schedule; compiled code stays valid."""
    if model in _WARDROBES:
        _WARDROBES[model].set_step(model, step)


@dataclass(kw_only=True)
class _Worn:
    """A LoRA on a model. `scales`: linear -> alpha / rank of its branch. `added`: parameter -> what is added
    to it at strength 1, on the host.
    """

    key: _Key
    use: LoraUse
    scales: dict[str, float]
    added: State
    strength: float = 1.0

    @property
    def name(self) -> str:
        """What its branches are called."""
        return str(self.key)


class _Wardrobe:
    """What is on one model. It must not hold the model, which it would keep alive."""

    def __init__(self) -> None:
        self.worn: list[_Worn] = []
        self.originals: State = {}

    def change(self, model: nn.Module, wanted: Sequence[LoraUse], say: Say) -> None:
        """What comes after the first difference is taken off and put on anew: sums keep their order, so that
        the same LoRAs always give the same video.
        """
        keys = _keys(wanted)
        kept = 0
        while kept < min(len(keys), len(self.worn)) and keys[kept] == self.worn[kept].key:
            kept += 1
        while len(self.worn) > kept:
            self._take_off(model, self.worn.pop())
        for worn, use in zip(self.worn, wanted, strict=False):
            worn.use = use
        for key, use in list(zip(keys, wanted, strict=True))[kept:]:
            say(f"LoRA {use.facts.name}")
            self.worn.append(_Worn(key=key, use=use, scales={}, added={}))
            self._put_on(model, self.worn[-1])
            log.info("[LOAD] LoRA %s: %d layers", use.facts.name, len(self.worn[-1].scales))
        self.set_step(model, 0)

    def empty(self, model: nn.Module) -> None:
        """Take off everything, also what was only half put on."""
        while self.worn:
            self._take_off(model, self.worn.pop())

    def set_step(self, model: nn.Module, step: int) -> None:
        """See `set_lora_step`."""
        changed: set[str] = set()
        for worn in self.worn:
            strength = worn.use.strength_at(step)
            if strength != worn.strength:
                worn.strength = strength
                changed |= worn.added.keys()
                for linear, scale in worn.scales.items():
                    _site(model, linear).set_lora_strength(worn.name, strength * scale)
        self._write(model, changed)

    def _put_on(self, model: nn.Module, worn: _Worn) -> None:
        facts, tensors = worn.use.facts, read_file(worn.use.facts.path)
        for linear, pair in facts.branches.items():
            down, up, scale = _factors(tensors, pair)
            _site(model, linear).add_lora(worn.name, down, up, scale)
            worn.scales[linear] = scale
        for parameter, added in _additions(facts, tensors):
            values = _values(model, parameter)
            if parameter not in self.originals:
                self.originals[parameter] = values.to("cpu", copy=True)
            worn.added[parameter] = added.reshape(values.shape)
        self._write(model, worn.added.keys())

    def _take_off(self, model: nn.Module, worn: _Worn) -> None:
        for linear in worn.use.facts.branches:
            site = model.get_submodule(linear)
            if isinstance(site, LoraSite) and site.has_lora(worn.name):
                site.remove_lora(worn.name)
        self._write(model, worn.added.keys())
        still = {name for other in self.worn for name in other.added}
        for parameter in worn.added.keys() - still:
            del self.originals[parameter]

    def _write(self, model: nn.Module, parameters: Iterable[str]) -> None:
        """Those parameters as they were loaded, plus what all that is worn adds."""
        for parameter in parameters:
            original, total = self.originals[parameter], None
            for worn in self.worn:
                if parameter in worn.added and worn.strength:
                    total = original.float() if total is None else total
                    total = total + worn.strength * worn.added[parameter].float()
            _values(model, parameter).copy_(original if total is None else total)


_WARDROBES: "weakref.WeakKeyDictionary[nn.Module, _Wardrobe]" = weakref.WeakKeyDictionary()


def _keys(wanted: Sequence[LoraUse]) -> list[_Key]:
    """What makes each another one: its file, and for a file that is named twice, the count."""
    files = [(str(use.facts.path.resolve()), use.facts.stamp) for use in wanted]
    return [(*file, files[:index].count(file)) for index, file in enumerate(files)]


def _site(model: nn.Module, linear: str) -> LoraSite:
    """The place beside the linear of that name. A dense one gives its place, and its parameters, to one that
    can have branches.
    """
    module = model.get_submodule(linear)
    if isinstance(module, LoraSite):
        return module
    assert isinstance(module, nn.Linear)
    branched = BranchedLinear(module)
    model.set_submodule(linear, branched)
    return branched


def _values(model: nn.Module, parameter: str) -> Tensor:
    """The values of a parameter, to be written in place; those of a joined linear's part are rows of it."""
    layer, _, leaf = parameter.rpartition(".")
    module, rows = find_rows(model, layer)
    if isinstance(module, QLinear) and leaf == "weight":
        raise UserError(f"a LoRA changes the whole weight of {layer}, which is quantized")
    values = module.get_parameter(leaf).data
    return values if rows == slice(None) else values[rows]


def _factors(tensors: State, pair: LowRank) -> tuple[Tensor, Tensor, float]:
    """down (rank, in), up (out, rank), alpha / rank; 1 without alpha."""
    down, up = tensors[pair.down].flatten(1), tensors[pair.up].flatten(1)
    alpha = None if pair.alpha is None else float(tensors[pair.alpha].float().reshape(-1)[0])
    return down, up, 1.0 if alpha is None else alpha / down.shape[0]


def _additions(facts: LoraFacts, tensors: State) -> Iterator[tuple[str, Tensor]]:
    """(parameter, what is added to it); of their own memory, for a mapped file may go."""
    for parameter, name in facts.differences.items():
        yield parameter, tensors[name].clone()
    for parameter, pair in facts.products.items():
        down, up, scale = _factors(tensors, pair)
        yield parameter, torch.mm(up.float(), down.float()) * scale
