"""The sizes of a network, read off the shapes of its tensors (under module names)."""

import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor

from wanvideo.checkpoint.layouts import block_count, decoder_shape
from wanvideo.errors import UserError
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.mel_band_roformer import SeparatorConfig

State = Mapping[str, Tensor]

TRANSFORMER_HEAD_DIM = 128
IMAGE_HEAD_DIM = 80
SPEECH_HEAD_DIM = 64
SPEECH_STRIDES = (5, 2, 2, 2, 2, 2, 2)
AUDIO_WINDOW = 5
# What shapes don't tell, and a config.json may.
TOLD = {
    "image_encoder": {"num_attention_heads", "hidden_act"},
    "speech_encoder": {"num_attention_heads", "conv_stride", "do_stable_layer_norm"},
}


def transformer_config(state: State) -> dict[str, Any]:
    """Arguments of WanTransformer3DModel."""
    dim, in_channels = _shape(state, "patch_embedding.weight")[:2]
    image = state.get("condition_embedder.image_embedder.norm1.weight")
    return {
        "num_attention_heads": _heads(dim, TRANSFORMER_HEAD_DIM),
        "attention_head_dim": TRANSFORMER_HEAD_DIM,
        "in_channels": in_channels,
        "out_channels": _shape(state, "proj_out.weight")[0] // 4,  # patches of 1 x 2 x 2
        "text_dim": _shape(state, "condition_embedder.text_embedder.linear_1.weight")[1],
        "freq_dim": _shape(state, "condition_embedder.time_embedder.linear_1.weight")[1],
        "ffn_dim": _shape(state, "blocks.0.ffn.net.0.proj.weight")[0],
        "num_layers": block_count(state),
        "image_dim": None if image is None else image.shape[0],
        "added_kv_proj_dim": None if image is None else dim,
    }


def audio_config(state: State) -> AudioConfig | None:
    """Sizes of InfiniteTalk's audio branch; None without one.

    Only the product of layers and channels can be seen, and only the product matters: windows are flattened.
    """
    if "audio_proj.proj1.weight" not in state:
        return None
    hidden, first = _shape(state, "audio_proj.proj1.weight")
    per_frame = first // AUDIO_WINDOW
    output_dim = _shape(state, "audio_proj.norm.weight")[0]
    layers = math.gcd(per_frame, AudioConfig().layers)
    return AudioConfig(
        window=AUDIO_WINDOW,
        vae_scale=_shape(state, "audio_proj.proj1_vf.weight")[1] // per_frame - AUDIO_WINDOW + 1,
        layers=layers,
        channels=per_frame // layers,
        intermediate_dim=hidden,
        context_tokens=_shape(state, "audio_proj.proj3.weight")[0] // output_dim,
        output_dim=output_dim,
    )


def vae_config(state: State) -> dict[str, Any]:
    """Arguments of AutoencoderKLWan."""
    levels, resnets = decoder_shape(state)
    base = _shape(state, "encoder.conv_in.weight")[0]
    firsts = [
        level * resnets for level in range(levels)
    ]  # resnets - 1 residual blocks and one resampler each
    return {
        "base_dim": base,
        "decoder_base_dim": _shape(state, "decoder.norm_out.gamma")[0],
        "z_dim": _shape(state, "post_quant_conv.weight")[0],
        "dim_mult": [_shape(state, f"encoder.down_blocks.{i}.conv1.weight")[0] // base for i in firsts],
        "num_res_blocks": resnets - 1,
        "temperal_downsample": [f"encoder.down_blocks.{i - 1}.time_conv.weight" in state for i in firsts[1:]],
    }


def text_encoder_config(state: State) -> dict[str, Any]:
    """Arguments of UMT5Config."""
    attention = "encoder.block.0.layer.0.SelfAttention"
    vocabulary, dim = _shape(state, "shared.weight")
    buckets, heads = _shape(state, f"{attention}.relative_attention_bias.weight")
    return {
        "vocab_size": vocabulary,
        "d_model": dim,
        "d_kv": _shape(state, f"{attention}.q.weight")[0] // heads,
        "d_ff": _shape(state, "encoder.block.0.layer.1.DenseReluDense.wi_0.weight")[0],
        "num_layers": block_count(state),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "feed_forward_proj": "gated-gelu",
    }


def image_encoder_config(state: State) -> dict[str, Any]:
    """Arguments of CLIPVisionConfig."""
    dim, _, patch, _ = _shape(state, "embeddings.patch_embedding.weight")
    return {
        "hidden_size": dim,
        "intermediate_size": _shape(state, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": block_count(state),
        "num_attention_heads": max(1, dim // IMAGE_HEAD_DIM),
        "patch_size": patch,
        "image_size": math.isqrt(_shape(state, "embeddings.position_embedding.weight")[0] - 1) * patch,
        "hidden_act": "gelu",
    }


def speech_encoder_config(state: State) -> dict[str, Any]:
    """Arguments of Wav2Vec2Config."""
    convolutions = "feature_extractor.conv_layers"
    count = _layers(state, convolutions)
    shapes = [_shape(state, f"{convolutions}.{index}.conv.weight") for index in range(count)]
    positional = _shape(state, "encoder.pos_conv_embed.conv.parametrizations.weight.original1")
    every_layer_normed = f"{convolutions}.1.layer_norm.weight" in state
    return {
        "hidden_size": positional[0],
        "num_hidden_layers": _layers(state, "encoder.layers"),
        "num_attention_heads": max(1, positional[0] // SPEECH_HEAD_DIM),
        "intermediate_size": _shape(state, "encoder.layers.0.feed_forward.intermediate_dense.weight")[0],
        "conv_dim": [shape[0] for shape in shapes],
        "conv_kernel": [shape[2] for shape in shapes],
        "conv_stride": list(SPEECH_STRIDES[:count]),
        "conv_bias": f"{convolutions}.0.conv.bias" in state,
        "feat_extract_norm": "layer" if every_layer_normed else "group",
        "do_stable_layer_norm": every_layer_normed,  # published models have both or neither
        "num_conv_pos_embeddings": positional[2],
        "num_conv_pos_embedding_groups": positional[0] // positional[1],
        # The mask embedding serves pretraining alone; some files leave it out, and then the module has none.
        "mask_time_prob": 0.05 if "masked_spec_embed" in state else 0.0,
    }


def vocal_separator_config(state: State) -> SeparatorConfig:
    """Sizes of a MelBand RoFormer."""
    return SeparatorConfig(
        dim=_shape(state, "band_split.to_features.0.1.weight")[0],
        depth=_layers(state, "layers"),
        bands=_layers(state, "band_split.to_features"),
        heads=_shape(state, "layers.0.0.layers.0.0.to_gates.weight")[0],
        # linears and the activations between them
        mask_layers=(_layers(state, "mask_estimators.0.to_freqs.0.0") + 1) // 2,
    )


def _heads(dim: int, head_dim: int) -> int:
    if dim % head_dim:
        raise UserError(
            "The width of a Wan model is a multiple of its head size", value=dim, allowed=f"n x {head_dim}"
        )
    return dim // head_dim


def _shape(state: State, name: str) -> tuple[int, ...]:
    if name not in state:
        raise UserError("The model is incomplete, a tensor is missing", value=name)
    return tuple(state[name].shape)


def _layers(names: Iterable[str], parent: str) -> int:
    pattern = re.compile(rf"{re.escape(parent)}\.(\d+)\.")
    return max((int(found[1]) + 1 for name in names if (found := pattern.match(name))), default=0)
