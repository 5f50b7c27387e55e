"""VAE, UMT5, CLIP and wav2vec2 in the layouts that people own, each kind of file as one row."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from tests.checkpoint.samples import small_vocabulary
from tests.checkpoint.synthetic import names, weights
from tests.checkpoint.synthetic.containers import Raw, codes, floats, kept, text, write_safetensors
from tests.checkpoint.synthetic.diffusion_files import gguf_tensor
from tests.checkpoint.synthetic.gguf_file import Value, write_gguf
from tests.checkpoint.synthetic.minifloats import Array
from tests.checkpoint.synthetic.modules import VAE_RESNETS, State, original
from tests.checkpoint.synthetic.weights import Layout

Name = Callable[[str], str]
Writer = Callable[[Path, State], State]


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """`write` makes the file of a state and returns its exact values, both under the module's names."""

    component: str
    file: str
    write: Writer
    has_tokenizer: bool = False


def write_companion(row: Companion, folder: Path) -> tuple[Path, State]:
    """(the file in `folder`, its exact values)."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder / row.file, row.write(folder / row.file, original(row.component))


def plain(path: Path, state: State, *, name: Name, dtype: str, extra: dict[str, Raw] | None = None) -> State:
    """One type for all tensors."""
    tensors = {name(inside): floats(values, dtype) for inside, values in state.items()}
    write_safetensors(path, tensors | (extra or {}), {"format": "pt"})
    return {inside: kept(values, dtype) for inside, values in state.items()}


def _pickled(path: Path, state: State, *, name: Name, dtype: torch.dtype) -> State:
    """torch.save, as the official releases have it."""
    tensors = {inside: torch.from_numpy(values).to(dtype) for inside, values in state.items()}
    torch.save({name(inside): tensor for inside, tensor in tensors.items()}, path)
    return {inside: tensor.double().numpy() for inside, tensor in tensors.items()}


def _quantized_text(
    path: Path, state: State, *, name: Name, layout: Layout, extra: dict[str, Raw] | None = None
) -> State:
    """UMT5 with every linear in `layout`, also the one behind the feed-forward's gate; the rest in bf16."""
    tensors, exact = dict(extra or {}), {}
    for inside, values in state.items():
        if _is_text_linear(inside):
            made = layout(values)
            stem = name(inside).removesuffix(".weight")
            tensors |= {stem + suffix: raw for suffix, raw in made.tensors.items()}
            exact[inside] = made.values
        else:
            tensors[name(inside)], exact[inside] = floats(values, "BF16"), kept(values, "BF16")
    write_safetensors(path, tensors)
    return exact


def _gguf_text(path: Path, state: State, *, kind: str) -> State:
    """llama.cpp's names, with the vocabulary among the key-values as converters write it."""
    values: dict[str, Value] = {
        "general.architecture": "t5encoder",
        "t5encoder.block_count": 2,
        "tokenizer.ggml.model": "t5",
        "tokenizer.ggml.tokens": ["<pad>", "</s>", "<unk>", "\u2581a", "\u2581cat"],
        "tokenizer.ggml.scores": [0.0, 0.0, 0.0, -1.5, -2.5],
        "tokenizer.ggml.token_type": [3, 3, 2, 1, 1],
    }
    source, tensors, exact = np.random.default_rng(5), {}, {}
    for inside, weight in state.items():
        kind_here = kind if _is_text_linear(inside) or inside.startswith("shared") else "F32"
        tensors[names.text_gguf_name(inside)], exact[inside] = gguf_tensor(weight, kind_here, source)
    write_gguf(path, tensors, values)
    return exact


def _joined_image(state: State) -> dict[str, Array]:
    """CLIP as open-clip's XLM-R model has it: query, key and value in one tensor, two more dimensions."""
    joined = {}
    for inside, values in state.items():
        official = names.image_name(inside)
        if ".self_attn.q_proj." in inside:
            parts = [state[inside.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            joined[official.replace("self_attn.q_proj", "attn.to_qkv")] = np.concatenate(parts)
        elif official == "visual.cls_embedding":
            joined[official] = values.reshape(1, 1, -1)
        elif official == "visual.pos_embedding":
            joined[official] = values[None]
        elif ".self_attn.k_proj." not in inside and ".self_attn.v_proj." not in inside:
            joined[official] = values
    return joined


def _official_image(path: Path, state: State, *, textual: bool) -> State:
    tensors = {name: floats(values, "F16") for name, values in _joined_image(state).items()}
    if textual:
        tensors |= {
            "log_scale": floats(np.asarray(4.6), "F16"),
            "visual.head": floats(np.ones((80, 24)), "F16"),
            "textual.token_embedding.weight": floats(np.ones((9, 8)), "F16"),
            "textual.blocks.0.attn.q.weight": floats(np.ones((8, 8)), "F16"),
        }
    write_safetensors(path, tensors)
    return {inside: kept(values, "F16") for inside, values in state.items()}


def _is_text_linear(inside: str) -> bool:
    return ".SelfAttention." in inside and "bias" not in inside or ".DenseReluDense." in inside


def _same(name: str) -> str:
    return name


def _prefixed(prefix: str, name: Name = _same) -> Name:
    return lambda inside: prefix + name(inside)


_TOKENIZER = {"spiece_model": text(small_vocabulary())}
_SCALED = {"scaled_fp8": codes(np.zeros(0, np.uint8), "F8_E4M3")}
_VAE_NAME = partial(names.vae_name, resnets=VAE_RESNETS)
_VAE = partial(Companion, component="vae")
_TEXT = partial(Companion, component="text_encoder")
_IMAGE = partial(Companion, component="image_encoder")
_SPEECH = partial(Companion, component="speech_encoder")

COMPANIONS = {
    "VAE, official pickle": _VAE(
        file="Wan2.1_VAE.pth", write=partial(_pickled, name=_VAE_NAME, dtype=torch.float32)
    ),
    "VAE, official bf16": _VAE(
        file="Wan2_1_VAE_bf16.safetensors", write=partial(plain, name=_VAE_NAME, dtype="BF16")
    ),
    "VAE, diffusers": _VAE(
        file="diffusion_pytorch_model.safetensors", write=partial(plain, name=_same, dtype="F32")
    ),
    "UMT5, official pickle": _TEXT(
        file="models_t5_umt5-xxl-enc-bf16.pth",
        write=partial(_pickled, name=names.text_name, dtype=torch.bfloat16),
    ),
    "UMT5, official plain fp8": _TEXT(
        file="umt5-xxl-enc-fp8_e4m3fn.safetensors",
        write=partial(_quantized_text, name=names.text_name, layout=weights.dense("F8_E4M3")),
    ),
    "UMT5, ComfyUI fp16": _TEXT(
        file="umt5_xxl_fp16.safetensors",
        write=partial(plain, name=_same, dtype="F16", extra=_TOKENIZER),
        has_tokenizer=True,
    ),
    "UMT5, ComfyUI scaled fp8": _TEXT(
        file="umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        write=partial(
            _quantized_text, name=_same, layout=weights.scaled_fp8("e4m3"), extra=_TOKENIZER | _SCALED
        ),
        has_tokenizer=True,
    ),
    "UMT5, ComfyUI scaled fp8, second layout": _TEXT(
        file="umt5_xxl_fp8_e4m3fn_scaled.safetensors",
        write=partial(_quantized_text, name=_same, layout=weights.comfy_fp8("e4m3"), extra=_TOKENIZER),
        has_tokenizer=True,
    ),
    "UMT5, LightX2V int8": _TEXT(
        file="models_t5_umt5-xxl-enc-int8.safetensors",
        write=partial(_quantized_text, name=names.text_name, layout=weights.int8_rows),
    ),
    "UMT5, quanto": _TEXT(
        file="t5_fp8.safetensors",
        write=partial(_quantized_text, name=names.text_name, layout=weights.quanto("e4m3")),
    ),
    **{
        f"UMT5, GGUF {kind}": _TEXT(
            file=f"umt5-xxl-encoder-{kind}.gguf", write=partial(_gguf_text, kind=kind)
        )
        for kind in ("Q8_0", "Q5_K", "Q3_K", "F16")
    },
    "CLIP, official with its text tower": _IMAGE(
        file="open-clip-xlm-roberta-large-vit-huge-14.safetensors",
        write=partial(_official_image, textual=True),
    ),
    "CLIP, official vision tower": _IMAGE(
        file="open-clip-xlm-roberta-large-vit-huge-14_visual_fp16.safetensors",
        write=partial(_official_image, textual=False),
    ),
    "CLIP, ComfyUI": _IMAGE(
        file="clip_vision_h.safetensors", write=partial(plain, name=_prefixed("vision_model."), dtype="F16")
    ),
    "wav2vec2, without prefix": _SPEECH(
        file="wav2vec2-chinese-base_fp16.safetensors",
        write=partial(plain, name=names.speech_name, dtype="F16"),
    ),
    "wav2vec2, with prefix": _SPEECH(
        file="model.safetensors",
        write=partial(plain, name=_prefixed("wav2vec2.", names.speech_name), dtype="F32"),
    ),
    "wav2vec2, names of newer releases": _SPEECH(
        file="model.safetensors", write=partial(plain, name=_prefixed("wav2vec2."), dtype="F32")
    ),
    "wav2vec2, pickle": _SPEECH(
        file="pytorch_model.bin", write=partial(_pickled, name=names.speech_name, dtype=torch.float32)
    ),
}
