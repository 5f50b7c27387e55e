"""Checkpoint names, both ways: official Wan / InfiniteTalk / UMT5 / CLIP / wav2vec2 files <-> our modules.

Tensors are only renamed, reshaped, cut in equal rows or joined again, so `to_official(to_module(state))`
gives back every tensor that is not on the ignore list, bit by bit. All of it also works on meta tensors.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from wanvideo.checkpoint.layouts import TABLES, Table, Target
from wanvideo.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

WRAPPER_PREFIXES = ("model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "_orig_mod.")
MARKERS = ("scaled_fp8", "spiece_model")  # stand outside any prefix

# Prefixes that only some files of a component carry.
_OWN_PREFIXES = {
    "transformer": ("multitalk_",),  # merged models spell audio_proj as multitalk_audio_proj
    "infinitetalk": ("multitalk_",),
    "image_encoder": ("visual.", "vision_model."),
    "speech_encoder": ("wav2vec2.",),
}
_OFFICIAL_PREFIX = {"image_encoder": "visual."}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Names that start with `prefix` are left out when a file is loaded, for `reason`."""

    prefix: str
    reason: str


_FP8_MARKER = Ignored(prefix="scaled_fp8", reason="marks fp8 weights with scales, read on its own")
IGNORED: dict[str, tuple[Ignored, ...]] = {
    "transformer": (_FP8_MARKER,),
    "infinitetalk": (_FP8_MARKER,),
    "vae": (),
    "vocal_separator": (),
    "text_encoder": (
        _FP8_MARKER,
        Ignored(prefix="spiece_model", reason="bytes of the tokenizer, read on their own"),
    ),
    "image_encoder": (
        Ignored(prefix="textual.", reason="the text tower of CLIP; Wan only looks at pictures"),
        Ignored(prefix="text_model.", reason="the text tower of CLIP; Wan only looks at pictures"),
        Ignored(prefix="log_scale", reason="temperature of CLIP's contrastive loss"),
        Ignored(prefix="logit_scale", reason="temperature of CLIP's contrastive loss"),
        Ignored(prefix="visual.head", reason="projection to the space shared with text"),
        Ignored(prefix="visual_projection", reason="projection to the space shared with text"),
        Ignored(prefix="text_projection", reason="projection to the space shared with text"),
        Ignored(prefix="vision_model.embeddings.position_ids", reason="a counter, made by the module itself"),
    ),
    "speech_encoder": (
        Ignored(prefix="quantizer.", reason="pretraining head"),
        Ignored(prefix="project_q.", reason="pretraining head"),
        Ignored(prefix="project_hid.", reason="pretraining head"),
        Ignored(prefix="lm_head.", reason="speech recognition head"),
    ),
}


def find_prefix(names: Iterable[str]) -> str:
    """The wrappers in front of every name (`model.diffusion_model.`, `_orig_mod.`, ...), "" without one."""
    rest = [name for name in names if name not in MARKERS]
    found = ""
    while rest:
        prefix = next((p for p in WRAPPER_PREFIXES if all(name.startswith(p) for name in rest)), "")
        if not prefix:
            break
        found += prefix
        rest = [name.removeprefix(prefix) for name in rest]
    return found


def ignored_reason(component: str, name: str) -> str | None:
    """Why `name` is left out when a `component` is loaded; None if it is not."""
    return next((rule.reason for rule in IGNORED[component] if name.startswith(rule.prefix)), None)


def unexplained_names(component: str, names: Iterable[str]) -> list[str]:
    """Names that are neither in the table (official or module naming) nor on the ignore list."""
    known, _ = _read_names(component, names)
    return [name for name, found in known.items() if found is None]


def names_in_module(component: str, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Name in a file, without wrapper prefix -> its names in the module; without unknown and ignored ones."""
    known, _ = _read_names(component, names)
    return {
        name: tuple(stem + found[1] for stem in found[0].stems)
        for name, found in known.items()
        if found is not None
    }


def to_module(component: str, state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """State of a file, without wrapper prefix -> state dict of the module. Views, no copies.

    Accepts official names and module names; ignored names are left out. Raises UserError for an unknown name.
    """
    known, _ = _read_names(component, state)
    result: dict[str, Tensor] = {}
    for name, (target, leaf) in _explained(component, known):
        tensor = state[name]
        parts = tensor.chunk(len(target.stems)) if target.split else (tensor,) * len(target.stems)
        for stem, part in zip(target.stems, parts, strict=True):
            result[stem + leaf] = part.reshape(part.shape[target.extra_dims :]) if target.extra_dims else part
    return result


def to_official(component: str, state: "Mapping[str, Tensor]") -> "dict[str, Tensor]":
    """State dict of the module -> the official file's names and shapes (the way back of `to_module`).

    Raises UserError for a name that the module of this component does not have.
    """
    table = TABLES[component](state)
    owners = {stem: (official, target) for official, target in table.items() for stem in target.stems}
    result: dict[str, Tensor] = {}
    for name in state:
        stem, leaf = _cut(name, owners)
        if stem is None:
            raise _unknown(component, [name])
        official, target = owners[stem]
        if stem == target.stems[0]:
            result[_OFFICIAL_PREFIX.get(component, "") + official + leaf] = _gather(state, target, leaf)
    return result


def _gather(state: "Mapping[str, Tensor]", target: Target, leaf: str) -> "Tensor":
    tensor = state[target.stems[0] + leaf]
    if target.split:
        import torch

        return torch.cat([state[stem + leaf] for stem in target.stems])
    return tensor.reshape((1,) * target.extra_dims + tuple(tensor.shape)) if target.extra_dims else tensor


_Known = dict[str, tuple[Target, str] | None]


def _read_names(component: str, names: Iterable[str]) -> tuple[_Known, set[str]]:
    """(name -> where it goes, None when unknown), and the ignored names."""
    names = list(names)
    ignored = {name for name in names if ignored_reason(component, name)}
    bare = {name: _without_own_prefix(component, name) for name in names if name not in ignored}
    official = TABLES[component](bare.values())
    module: Table = {stem: target for target in _as_module_names(official) for stem in target.stems}
    readings = [{name: _look_up(bare[name], table) for name in bare} for table in (official, module)]
    # norm2 exists on both sides and means different layers: one reading must hold for the whole file.
    return max(readings, key=lambda reading: sum(found is not None for found in reading.values())), ignored


def _as_module_names(official: Table) -> list[Target]:
    """For a file that already has module names: identity, but a shared tensor reaches all its owners."""
    result = []
    for target in official.values():
        shared = len(target.stems) > 1 and not target.split
        result += [target] if shared else [Target(stems=(stem,)) for stem in target.stems]
    return result


def _explained(component: str, known: _Known) -> list[tuple[str, tuple[Target, str]]]:
    unknown = [name for name, found in known.items() if found is None]
    if unknown:
        raise _unknown(component, unknown)
    return [(name, found) for name, found in known.items() if found is not None]


def _unknown(component: str, names: list[str]) -> UserError:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return UserError(f"These tensors are no part of a Wan 2.1 {component}: {', '.join(names[:3])}{more}")


def _without_own_prefix(component: str, name: str) -> str:
    prefix = next((p for p in _OWN_PREFIXES.get(component, ()) if name.startswith(p)), "")
    return name.removeprefix(prefix)


def _look_up(name: str, table: Table) -> tuple[Target, str] | None:
    stem, leaf = _cut(name, table)
    return None if stem is None else (table[stem], leaf)


def _cut(name: str, stems: Mapping[str, object]) -> tuple[str | None, str]:
    """`name` = stem + leaf, where the stem is a known one and the leaf starts with a dot or is empty.

    Leaves are free: scales of a quantized layer (`.scale_weight`, `.weight._data`) travel with their weight.
    """
    stem = name
    while stem not in stems:
        stem, dot, _ = stem.rpartition(".")
        if not dot:
            return None, ""
    return stem, name[len(stem) :]
