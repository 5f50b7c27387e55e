"""How LoRA files spell the layers of the diffusion model: every style is read to one name.

    diffusion_model.blocks.0.self_attn.q.lora_down.weight     ComfyUI, lightx2v; also lora_A, no prefix at all
    base_model.model.blocks.0.self_attn.q.lora_A.default.weight         PEFT
    transformer.blocks.0.attn1.to_q.lora_A.weight                       diffusers (attn1 is self_attn)
    pipe.dit.blocks.0.self_attn.q.lora_A.default.weight                 DiffSynth
    lora_unet_blocks_0_self_attn_q.lora_down.weight                     kohya, musubi; also lora_unet__
    lycoris_blocks_0_self_attn_q.lora_down.weight                       LyCORIS

Layers are compared with their dots turned into underscores, as the last two have them: no two layers of the
model become the same by that.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wanvideo.checkpoint.layouts import TABLES

DOWN, UP, ALPHA, WEIGHT, BIAS, MODULATION = "down", "up", "alpha", "weight", "bias", "modulation"
_WRAPPERS = (
    *("model_diffusion_model_", "diffusion_model_", "base_model_model_", "transformer_", "pipe_dit_"),
    *("lora_unet_", "lora_transformer_", "lycoris_", "multitalk_", "model_", "_"),
)
_FACTOR = r"[._]lora(?:_{0}|_{1}|\.{1})(?:(?:\.\w+)?\.weight)?"
_ENDINGS = {
    DOWN: _FACTOR.format("A", "down"),
    UP: _FACTOR.format("B", "up"),
    ALPHA: r"\.alpha",
    WEIGHT: r"\.(?:diff|w_norm)",
    BIAS: r"\.(?:diff_b|b_norm)",
    MODULATION: r"\.diff_m",
}
_ROLES = {role: re.compile(rf"(.+?){ending}") for role, ending in _ENDINGS.items()}
_OTHER_KINDS = {  # part of a tensor's name -> what a file with it is
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    ".hada_": "LoHa",
    ".lokr_": "LoKr",
    ".lora_mid": "LoCon with a core tensor",
    ".oft_": "OFT",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spelled:
    """One tensor of a LoRA file: what it is for the layer of that flat name."""

    role: str
    layer: str


def read_name(name: str) -> Spelled | None:
    """What a tensor of that name is; None for one that no LoRA has."""
    for role, pattern in _ROLES.items():
        if (found := pattern.fullmatch(name)) is not None:
            return Spelled(role=role, layer=_flat(found[1]))
    return None


def other_kind(names: Iterable[str]) -> str | None:
    """What a file is that is no plain LoRA but one of its relatives; None for a plain one."""
    return next((kind for name in names for part, kind in _OTHER_KINDS.items() if part in name), None)


def find_layers(spelled: Iterable[str], parameters: Iterable[str]) -> dict[str, str]:
    """Flat name -> layer of the module, for those of the flat names `spelled` that are layers of a model with
    these `parameters` (module names), in the official or in the module naming.

    Of the norms that change places between the two, only one has parameters: no name means two layers.
    """
    parameters = list(parameters)
    known = {_flat(_layer(name)): _layer(name) for name in parameters} | _official(parameters)
    return {flat: known[flat] for flat in set(spelled) & known.keys()}


def modulation_names(layer: str) -> tuple[str, ...]:
    """The flat names that the modulation of a block, or of the head, can have."""
    return f"{layer}_modulation", f"{layer}_scale_shift_table"


def _official(parameters: list[str]) -> dict[str, str]:
    """Flat official name -> layer of the module, from the one rename table."""
    table = TABLES["transformer"](parameters)
    owners = {stem: official for official, target in table.items() for stem in target.stems}
    return {_flat(_renamed(_layer(name), owners)): _layer(name) for name in parameters}


def _renamed(layer: str, owners: Mapping[str, str]) -> str:
    """A row of the table can stand for all that lies below it."""
    stem = layer
    while stem not in owners:
        stem, dot, _ = stem.rpartition(".")
        if not dot:
            return layer
    return owners[stem] + layer[len(stem) :]


def _layer(parameter: str) -> str:
    """`blocks.0.norm2.weight` -> `blocks.0.norm2`; a lone parameter is its own layer."""
    return parameter.removesuffix(".weight").removesuffix(".bias")


def _flat(name: str) -> str:
    """Without wrappers, which some tools put around each other."""
    flat = name.replace(".", "_")
    while (prefix := next((p for p in _WRAPPERS if flat.startswith(p)), None)) is not None:
        flat = flat.removeprefix(prefix)
    return flat
