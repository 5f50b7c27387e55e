"""Folders of model files that have the right headers and no weights."""

import json
import struct
from pathlib import Path

from tests.checkpoint.samples import write_header

Shapes = dict[str, list[int]]

ENCODERS: dict[str, Shapes] = {
    "vae": {
        "decoder.middle.0.residual.0.gamma": [8],
        "conv2.weight": [16, 16],
        "encoder.conv1.weight": [8, 3],
    },
    "umt5": {"blocks.0.pos_embedding.embedding.weight": [32, 1], "token_embedding.weight": [9, 64]},
    "clip": {"visual.cls_embedding": [1, 1, 80], "visual.transformer.0.norm1.bias": [80]},
    "wav2vec2": {
        "feature_extractor.conv_layers.0.conv.weight": [4, 1, 10],
        "feature_projection.projection.bias": [6],
        "encoder.layers.1.layer_norm.bias": [6],
    },
}


def diffusion(dim: int, image: bool = True) -> Shapes:
    shapes = {
        "patch_embedding.weight": [dim, 36 if image else 16, 1, 2, 2],
        "text_embedding.0.weight": [dim, 64],
        "blocks.0.modulation": [1, 6, dim],
    }
    more = {"img_emb.proj.0.weight": [80], "blocks.0.cross_attn.k_img.weight": [dim, dim]}
    return shapes | (more if image else {})


def audio_layers(dim: int) -> Shapes:
    return {
        "audio_proj.proj1.weight": [8, 60],
        "blocks.0.audio_cross_attn.q_linear.weight": [dim, dim],
    }


def write(path: Path, shapes: Shapes, dtype: str = "BF16") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return write_header(path, {name: (dtype, shape) for name, shape in shapes.items()})


def write_encoders(folder: Path) -> None:
    for name, shapes in ENCODERS.items():
        write(folder / f"{name}.safetensors", shapes)
    (folder / "spiece.model").write_bytes(b"pieces")


def write_pocket(folder: Path) -> Path:
    """A complete private set for every task."""
    write_encoders(folder)
    write(folder / "tiny_i2v.safetensors", diffusion(128))
    write(folder / "tiny_t2v.safetensors", diffusion(128, image=False))
    write(folder / "tiny_talk.safetensors", audio_layers(128))
    (folder / "model.json").write_text(json.dumps({"label": "Pocket", "area": 4096}))
    return folder


def write_shards(folder: Path, shapes: Shapes) -> None:
    names = list(shapes)
    for index, part in ((1, names[:2]), (2, names[2:])):
        shard = folder / f"diffusion_pytorch_model-0000{index}-of-00002.safetensors"
        write(shard, {name: shapes[name] for name in part})


def write_gguf(path: Path, architecture: bytes) -> Path:
    key = b"general.architecture"
    head = struct.pack("<4sIQQQ", b"GGUF", 3, 0, 1, len(key)) + key
    path.write_bytes(head + struct.pack("<IQ", 8, len(architecture)) + architecture)
    return path
