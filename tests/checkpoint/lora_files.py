"""LoRA files of every spelling, made from one set of changes, and the same changes merged into a model."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.keys import to_module, to_official
from wanvideo.checkpoint.load import load_transformer
from wanvideo.checkpoint.lora import LoraUse, inspect_lora, parameter_shapes
from wanvideo.checkpoint.lora_model import wear_loras
from wanvideo.models.transformer import WanTransformer
from wanvideo.registry import quantization_modes

RANK = 4
STRENGTH = 0.8
EXACT = 1e-5  # of fp32 sums in another order
State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Changes:
    """By official names: layer -> (down, up), layer -> alpha, layer -> difference of weight or bias, block or
    head -> difference of the modulation.
    """

    pairs: Mapping[str, tuple[Tensor, Tensor]]
    alphas: Mapping[str, float]
    weights: Mapping[str, Tensor]
    biases: Mapping[str, Tensor]
    modulations: Mapping[str, Tensor]


LINEARS = (
    *("blocks.0.self_attn.q", "blocks.0.self_attn.v", "blocks.1.self_attn.o", "blocks.1.cross_attn.k"),
    *("blocks.0.cross_attn.k_img", "blocks.0.ffn.0", "blocks.1.ffn.2", "blocks.1.audio_cross_attn.q_linear"),
    *("text_embedding.2", "time_embedding.0", "time_projection.1", "head.head", "audio_proj.proj2"),
)
NORMS = ("blocks.0.norm3", "blocks.1.self_attn.norm_q", "blocks.0.cross_attn.norm_k_img", "img_emb.proj.0")
BIASES = ("blocks.0.self_attn.q", "blocks.0.self_attn.v", "blocks.0.norm3", "blocks.1.ffn.0", "head.head")
DIFFUSERS = {  # official -> diffusers, in this order
    r"\bself_attn\b": "attn1",
    r"\bcross_attn\b": "attn2",
    r"\.(attn[12])\.([qkv])$": r".\1.to_\2",
    r"\.(attn[12])\.o$": r".\1.to_out.0",
    r"\.([kv])_img$": r".add_\1_proj",
    r"norm_k_img$": "norm_added_k",
    r"\.norm3$": ".norm2",
    r"\.ffn\.0$": ".ffn.net.0.proj",
    r"\.ffn\.2$": ".ffn.net.2",
    r"^(text|time)_embedding\.0$": r"condition_embedder.\1_embedder.linear_1",
    r"^(text|time)_embedding\.2$": r"condition_embedder.\1_embedder.linear_2",
    r"^time_projection\.1$": "condition_embedder.time_proj",
    r"^head\.head$": "proj_out",
    r"^img_emb\.proj\.0$": "condition_embedder.image_embedder.norm1",
    r"^img_emb\.proj\.1$": "condition_embedder.image_embedder.ff.net.0.proj",
    r"^img_emb\.proj\.3$": "condition_embedder.image_embedder.ff.net.2",
    r"^img_emb\.proj\.4$": "condition_embedder.image_embedder.norm2",
    r"^head$": "",
}


def make_changes(official: Mapping[str, Tensor], seed: int = 0, only: str = "") -> Changes:
    """Random ones for a model whose official state this is; `only`: linears that begin so."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator) * 0.05

    linears = [name for name in LINEARS if f"{name}.weight" in official and name.startswith(only)]
    sizes = {name: official[f"{name}.weight"].shape for name in linears}
    conv = official["patch_embedding.weight"].shape
    pairs = {name: (random(RANK, size[1]), random(size[0], RANK)) for name, size in sizes.items()}
    norms = [name for name in NORMS if f"{name}.weight" in official and not only]
    return Changes(
        pairs=pairs,
        alphas={name: 4.0 * index for index, name in enumerate(linears) if index % 3},
        weights={n: random(*official[f"{n}.weight"].shape) for n in norms}
        | ({} if only else {"patch_embedding": random(*conv)}),
        biases={} if only else {n: random(*official[f"{n}.bias"].shape) for n in BIASES},
        modulations={}
        if only
        else {n: random(*official[f"{n}.modulation"].shape) for n in ("blocks.0", "blocks.1", "head")},
    )


def merged(official: Mapping[str, Tensor], changes: Changes, strength: float) -> State:
    """The official state with the changes in its weights, by the definition."""
    state = {name: tensor.clone() for name, tensor in official.items()}
    for name, (down, up) in changes.pairs.items():
        state[f"{name}.weight"] += strength * changes.alphas.get(name, RANK) / RANK * (up @ down)
    for leaf, added in (
        ("weight", changes.weights),
        ("bias", changes.biases),
        ("modulation", changes.modulations),
    ):
        for name, tensor in added.items():
            state[f"{name}.{leaf}"] += strength * tensor
    return state


def dotted(
    prefix: str, factors: tuple[str, str], rename: Callable[[str], str] = str, modulation: str = "diff_m"
) -> "Style":
    def spell(layer: str, leaf: str) -> str:
        return prefix + f"{rename(layer)}.{leaf}".lstrip(".")

    return Style(spell=spell, factors=factors, modulation=modulation)


def flat(prefix: str) -> "Style":
    return Style(
        spell=lambda layer, leaf: f"{prefix}{layer.replace('.', '_')}.{leaf}",
        factors=("lora_down.weight", "lora_up.weight"),
    )


def diffusers_name(layer: str) -> str:
    for official, other in DIFFUSERS.items():
        layer = re.sub(official, other, layer)
    return layer


@dataclass(frozen=True, kw_only=True)
class Style:
    """How a tool spells (layer, leaf), its two factors, and a difference of the modulation."""

    spell: Callable[[str, str], str]
    factors: tuple[str, str]
    modulation: str = "diff_m"


AB, PEFT, DOWN_UP, OLD = (
    ("lora_A.weight", "lora_B.weight"),
    ("lora_A.default.weight", "lora_B.default.weight"),
    ("lora_down.weight", "lora_up.weight"),
    ("lora.down.weight", "lora.up.weight"),
)
STYLES: dict[str, Style] = {
    "comfy": dotted("diffusion_model.", AB),
    "lightx2v": dotted("diffusion_model.", DOWN_UP),
    "bare": dotted("", AB),
    "peft": dotted("base_model.model.", PEFT),
    "diffusers": dotted("transformer.", AB, diffusers_name, "scale_shift_table.diff"),
    "diffusers_bare": dotted("", DOWN_UP, diffusers_name, "scale_shift_table.diff"),
    "diffusers_old": dotted("transformer.", OLD, diffusers_name, "scale_shift_table.diff"),
    "kohya": flat("lora_unet_"),
    "musubi": flat("lora_unet__"),
    "lycoris": flat("lycoris_"),
    "diffsynth": dotted("pipe.dit.", PEFT),
    "wrapped": dotted("model.diffusion_model.", AB, modulation="modulation.diff"),
}


def spelled(changes: Changes, style: Style) -> State:
    """The tensors of a file in that style."""
    state: State = {}
    for name, (down, up) in changes.pairs.items():
        state[style.spell(name, style.factors[0])] = down
        state[style.spell(name, style.factors[1])] = up
    state |= {style.spell(name, "alpha"): torch.tensor(alpha) for name, alpha in changes.alphas.items()}
    state |= {style.spell(name, "diff"): tensor for name, tensor in changes.weights.items()}
    state |= {style.spell(name, "diff_b"): tensor for name, tensor in changes.biases.items()}
    return state | {style.spell(n, style.modulation): tensor for n, tensor in changes.modulations.items()}


def write_lora(
    path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None, dtype: object = None
) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cast = {
        name: tensor.to(dtype) if isinstance(dtype, torch.dtype) else tensor for name, tensor in state.items()
    }
    save_file(
        {name: tensor.contiguous().clone() for name, tensor in cast.items()}, path, dict(metadata or {})
    )
    return path


def bytes_of(module: nn.Module) -> dict[str, bytes]:
    """Every tensor of a state, to be compared bit by bit."""
    return {
        name: tensor.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        if tensor.ndim
        else str(tensor.item()).encode()
        for name, tensor in module.state_dict().items()
    }


def talk_facts(folder: Path) -> list[CheckpointFacts]:
    """The tiny talk model in two files, written into the folder."""
    write_tiny_models(folder)
    return [inspect_checkpoint(folder / f"tiny_{name}.safetensors") for name in ("i2v", "infinitetalk")]


def load(
    facts: list[CheckpointFacts], mode: str = "disabled", dtype: torch.dtype = torch.float32
) -> WanTransformer:
    return load_transformer(*facts, dtype=dtype, mode=quantization_modes()[mode]).eval()


def changes_for(facts: list[CheckpointFacts]) -> Changes:
    """Of every kind, for the model of those files."""
    return make_changes(to_official("transformer", load(facts).state_dict()))


def merged_model(facts: list[CheckpointFacts], changes: Changes) -> WanTransformer:
    """That model with the changes added to its dense weights."""
    model = load(facts)
    official = merged(to_official("transformer", model.state_dict()), changes, STRENGTH)
    model.load_state_dict(to_module("transformer", official), assign=True)
    return model


def use(path: Path, facts: list[CheckpointFacts], strength: float | tuple[float, ...] = STRENGTH) -> LoraUse:
    return LoraUse(facts=inspect_lora(path, path.stem, parameter_shapes(facts)), strength=strength)


def wear(model: WanTransformer, *uses: LoraUse) -> None:
    wear_loras(model, uses, lambda _: None)
