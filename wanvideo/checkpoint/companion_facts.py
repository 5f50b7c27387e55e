"""Sizes of the VAE, the encoders, the vocal separator and LoRA files, from their headers."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.recognise import IMAGE_ENCODER, LORA, VOCAL_SEPARATOR, Tensors
from wanvideo.checkpoint.tensor_shapes import shape_of_first
from wanvideo.errors import UserError

_OTHER_CLIP = {1664: "CLIP ViT-bigG (clip_vision_g)", 1024: "CLIP ViT-L (clip_vision_l)"}
_MEL_BANDS, _BS_BANDS = 60, 62  # BS-RoFormer has the same names
_LORA_DOWN = re.compile(r"[._](?:lora_A|lora_down|lora\.down)[._]")
_LORA_QUERY = re.compile(r"blocks[._]\d+[._](?:self_attn[._]q|attn1[._]to_q)[._]")
_LORA_BLOCK = re.compile(r"(?<!transformer_)blocks[._](\d+)[._]")


def vae_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    channels = shape_of_first(path, tensors, "conv2.weight", "post_quant_conv.weight")[0]
    if channels != 16:
        raise UserError(f"{path.name} is a VAE with {channels} channels, as in Wan 2.2; Wan 2.1 needs 16")
    dim = shape_of_first(path, tensors, "encoder.conv1.weight", "encoder.conv_in.weight")[0]
    return {"dim": dim, "in_channels": channels}


def text_encoder_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    table = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    if "encoder.block.1.layer.0.layer_norm.weight" in tensors and table not in tensors:
        raise UserError(
            f"{path.name} is a T5 encoder; Wan 2.1 needs UMT5, which has a position table in every layer"
        )
    names = "token_embedding.weight", "shared.weight", "encoder.embed_tokens.weight"
    return {"dim": shape_of_first(path, tensors, *names)[-1]}


def image_encoder_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    dim = shape_of_first(path, tensors, *IMAGE_ENCODER)[-1]
    if dim in _OTHER_CLIP:
        raise UserError(
            f"{path.name} is {_OTHER_CLIP[dim]}, {dim} wide; Wan 2.1 needs clip_vision_h (ViT-H), 1280 wide"
        )
    return {"dim": dim}


def speech_encoder_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    names = tuple(f"{prefix}feature_projection.projection.bias" for prefix in ("", "wav2vec2."))
    return {"dim": shape_of_first(path, tensors, *names)[-1]}


def vocal_separator_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    """MelBand RoFormer: depth is the number of its outer layers."""
    bands = len({name.split(".")[2] for name in tensors if name.startswith("band_split.to_features.")})
    if bands == _BS_BANDS:
        raise UserError(f"{path.name} is a BS-RoFormer; the separator here is a MelBand RoFormer")
    depth = {name.split(".")[1] for name in tensors if re.match(r"layers\.\d+\.", name)}
    dim = shape_of_first(path, tensors, "band_split.to_features.0.1.weight")[0]
    return {"dim": dim, "num_layers": len(depth), "bands": bands}


def lora_sizes(_path: Path, tensors: Tensors) -> dict[str, Any]:
    """`dim` is that of the model it is for; `task_hint` stays None where its shapes fit more than one."""
    downs = {name: info.shape for name, info in tensors.items() if _LORA_DOWN.search(name) and info.shape}
    query = next((shape for name, shape in downs.items() if _LORA_QUERY.search(name)), None)
    first = query or next(iter(downs.values()), (0,))
    blocks = [int(found[1]) for name in tensors if (found := _LORA_BLOCK.search(name))]
    return {
        "dim": query[-1] if query else 0,
        "rank": first[0] or None,
        "num_layers": max(blocks, default=-1) + 1,
        "task_hint": _lora_task(tensors),
    }


def _lora_task(tensors: Tensors) -> str | None:
    if any("audio_cross_attn" in name for name in tensors):
        return "talk"
    if any("k_img" in name or "add_k_proj" in name or "img_emb" in name for name in tensors):
        return "i2v"
    patches = next((info for name, info in tensors.items() if "patch_embedding.diff" in name), None)
    channels = patches.shape[1] if patches is not None and len(patches.shape) > 1 else None
    return {16: "t2v", 36: "i2v"}.get(channels) if channels else None


SIZES: Mapping[str, Callable[[Path, Tensors], dict[str, Any]]] = {
    "vae": vae_sizes,
    "text_encoder": text_encoder_sizes,
    "image_encoder": image_encoder_sizes,
    "speech_encoder": speech_encoder_sizes,
    VOCAL_SEPARATOR: vocal_separator_sizes,
    LORA: lora_sizes,
}
