"""Which layer of a published checkpoint is which layer of the module: one table per component.

A table maps the stem of an official name (the path of a layer, or of a lone parameter) to a `Target`. It is
made from the block structure; how many blocks there are is read from the names themselves, so tiny, pocket
and 14B models share the tables.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where the tensors below an official stem go in the module.

    `stems` has one entry for a plain rename. With several, the tensor is cut into equal rows (`split`), or
    all of them share it. `extra_dims` leading dimensions of size 1 exist only in the file.
    """

    stems: tuple[str, ...]
    split: bool = False
    extra_dims: int = 0


Table = dict[str, Target]

_TRANSFORMER = {
    "patch_embedding": "patch_embedding",
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "head.modulation": "scale_shift_table",
    "head.head": "proj_out",
    "audio_proj": "audio_proj",
}
_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "o": "to_out.0", "norm_q": "norm_q", "norm_k": "norm_k"}
# norm2 and norm3 change places: the official code counts by kind, diffusers by the order in the forward pass.
_TRANSFORMER_BLOCK = {
    "modulation": "scale_shift_table",
    "norm2": "norm3",
    "norm3": "norm2",
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "norm_x": "norm_x",
    "audio_cross_attn": "audio_cross_attn",
    **{f"self_attn.{official}": f"attn1.{module}" for official, module in _ATTENTION.items()},
    **{f"cross_attn.{official}": f"attn2.{module}" for official, module in _ATTENTION.items()},
    "cross_attn.k_img": "attn2.add_k_proj",
    "cross_attn.v_img": "attn2.add_v_proj",
    "cross_attn.norm_k_img": "attn2.norm_added_k",
}
_VAE = {
    "conv1": "quant_conv",
    "conv2": "post_quant_conv",
    **{f"{half}.conv1": f"{half}.conv_in" for half in ("encoder", "decoder")},
    **{f"{half}.head.0": f"{half}.norm_out" for half in ("encoder", "decoder")},
    **{f"{half}.head.2": f"{half}.conv_out" for half in ("encoder", "decoder")},
    **{f"{half}.middle.1": f"{half}.mid_block.attentions.0" for half in ("encoder", "decoder")},
}
_VAE_RESNET = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_VAE_RESAMPLE = {"resample.1": "resample.1", "time_conv": "time_conv"}
_TEXT_BLOCK = {
    "norm1": "layer.0.layer_norm",
    **{f"attn.{name}": f"layer.0.SelfAttention.{name}" for name in "qkvo"},
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}
_IMAGE = {
    "patch_embedding": "embeddings.patch_embedding",
    "pre_norm": "pre_layrnorm",  # the missing letter is transformers' own
    "post_norm": "post_layernorm",
}
_IMAGE_BLOCK = {
    "norm1": "layer_norm1",
    "attn.proj": "self_attn.out_proj",
    "norm2": "layer_norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_WEIGHT_NORM = "encoder.pos_conv_embed.conv"
_SPEECH = {
    **{name: name for name in ("masked_spec_embed", "feature_extractor", "feature_projection")},
    "encoder.layer_norm": "encoder.layer_norm",
    f"{_WEIGHT_NORM}.bias": f"{_WEIGHT_NORM}.bias",
    f"{_WEIGHT_NORM}.weight_g": f"{_WEIGHT_NORM}.parametrizations.weight.original0",
    f"{_WEIGHT_NORM}.weight_v": f"{_WEIGHT_NORM}.parametrizations.weight.original1",
}


def transformer_table(names: Iterable[str]) -> Table:
    """Wan 2.1 diffusion model, with InfiniteTalk's audio layers under their official names."""
    table = _renames(_TRANSFORMER)
    for index in range(_count(names, r"blocks")):
        table |= _renames(_TRANSFORMER_BLOCK, f"blocks.{index}.", f"blocks.{index}.")
    return table


def vae_table(names: Iterable[str]) -> Table:
    """Wan 2.1 VAE. The official decoder numbers its blocks in one row, the module groups them by size."""
    names = list(names)
    table = _renames(_VAE)
    for half in ("encoder", "decoder"):
        for official, module in ((0, 0), (2, 1)):
            table |= _renames(
                _VAE_RESNET, f"{half}.middle.{official}.", f"{half}.mid_block.resnets.{module}."
            )
    for index in range(_count(names, r"encoder\.(?:downsamples|down_blocks)")):
        prefixes = f"encoder.downsamples.{index}.", f"encoder.down_blocks.{index}."
        table |= _renames(_VAE_RESNET | _VAE_RESAMPLE, *prefixes)
    levels, resnets = decoder_shape(names)
    for level in range(levels):
        first, block = level * (resnets + 1), f"decoder.up_blocks.{level}"
        for index in range(resnets):
            table |= _renames(_VAE_RESNET, f"decoder.upsamples.{first + index}.", f"{block}.resnets.{index}.")
        if level + 1 < levels:
            table |= _renames(
                _VAE_RESAMPLE, f"decoder.upsamples.{first + resnets}.", f"{block}.upsamplers.0."
            )
    return table


def decoder_shape(names: Iterable[str]) -> tuple[int, int]:
    """(resolutions, residual blocks at each) of a VAE decoder, from names of either kind."""
    names = list(names)
    levels = _count(names, r"decoder\.up_blocks")
    if levels:
        return levels, _count(names, r"decoder\.up_blocks\.0\.resnets")
    blocks = _count(names, r"decoder\.upsamples")
    pattern = re.compile(r"decoder\.upsamples\.(\d+)\.resample")
    resnets = min((int(found[1]) for name in names if (found := pattern.match(name))), default=blocks)
    return (blocks + 1) // (resnets + 1), resnets


def text_encoder_table(names: Iterable[str]) -> Table:
    """UMT5 encoder. The token embedding has two names in the module, which share one tensor."""
    table = _renames({"norm": "encoder.final_layer_norm"})
    table["token_embedding"] = Target(stems=("shared", "encoder.embed_tokens"))
    for index in range(_count(names, r"(?:encoder\.block|blocks)")):
        table |= _renames(_TEXT_BLOCK, f"blocks.{index}.", f"encoder.block.{index}.")
    return table


def image_encoder_table(names: Iterable[str]) -> Table:
    """Vision tower of open-clip's XLM-R ViT-H, names without their `visual.` prefix."""
    table = _renames(_IMAGE)
    table["cls_embedding"] = Target(stems=("embeddings.class_embedding",), extra_dims=2)
    table["pos_embedding"] = Target(stems=("embeddings.position_embedding.weight",), extra_dims=1)
    for index in range(_count(names, r"(?:encoder\.layers|transformer)")):
        official, module = f"transformer.{index}.", f"encoder.layers.{index}."
        table |= _renames(_IMAGE_BLOCK, official, module)
        heads = tuple(f"{module}self_attn.{name}_proj" for name in "qkv")
        table[f"{official}attn.to_qkv"] = Target(stems=heads, split=True)
    return table


def speech_encoder_table(names: Iterable[str]) -> Table:
    """wav2vec2: only the weight norm of the positional convolution is spelt differently in memory."""
    layers = [f"encoder.layers.{index}" for index in range(_count(names, r"encoder\.layers"))]
    return _renames(_SPEECH) | _renames({layer: layer for layer in layers})


TABLES: dict[str, Callable[[Iterable[str]], Table]] = {
    "transformer": transformer_table,
    "infinitetalk": transformer_table,
    "vae": vae_table,
    "text_encoder": text_encoder_table,
    "image_encoder": image_encoder_table,
    "speech_encoder": speech_encoder_table,
}


def block_count(names: Iterable[str]) -> int:
    """Number of repeated blocks of any component, from names of either kind."""
    return _count(names, r"(?:[\w.]+\.)?(?:blocks|block|layers|transformer|downsamples|down_blocks)")


def _renames(rows: dict[str, str], official: str = "", module: str = "") -> Table:
    return {official + stem: Target(stems=(module + target,)) for stem, target in rows.items()}


def _count(names: Iterable[str], parent: str) -> int:
    """Highest index below `parent` (a pattern) plus one; 0 when there is none."""
    pattern = re.compile(rf"{parent}\.(\d+)\.")
    return max((int(found[1]) + 1 for name in names if (found := pattern.match(name))), default=0)
