"""Which layers are quantized, asked of a real model and of the published names."""

import torch
from torch import nn

from tests.checkpoint.samples import manifests
from wanvideo.checkpoint.keys import to_module
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.which import is_quantized_linear

BLOCK = {
    *(f"attn{n}.{part}" for n in (1, 2) for part in ("to_q", "to_k", "to_v", "to_out.0")),
    *("attn2.add_k_proj", "attn2.add_v_proj", "ffn.net.0.proj", "ffn.net.2"),
    *(f"audio_cross_attn.{part}" for part in ("q_linear", "kv_linear", "proj")),
}


def talk_model() -> nn.Module:
    with torch.device("meta"):
        return WanTransformer(
            num_layers=2,
            num_attention_heads=2,
            attention_head_dim=128,
            in_channels=36,
            out_channels=16,
            text_dim=64,
            freq_dim=64,
            ffn_dim=64,
            image_dim=80,
            added_kv_proj_dim=256,
            audio=AudioConfig(layers=2, channels=64, intermediate_dim=16, context_tokens=4, output_dim=32),
        )


def test_the_big_linears_of_the_blocks_and_no_others() -> None:
    named = {name: module for name, module in talk_model().named_modules() if is_quantized_linear(name)}
    assert set(named) == {f"blocks.{n}.{part}" for n in range(2) for part in BLOCK}
    assert all(isinstance(module, nn.Linear) for module in named.values())


def test_names_are_matched_whole() -> None:
    for name in (
        "blocks.0.attn1",
        "blocks.0.attn1.to_q.lora",
        "x.blocks.0.attn1.to_q",
        "blocks.0.norm_x",
        "audio_proj.proj1",
        "proj_out",
        "blocks.0.attn1.add_k_proj",
        "condition_embedder.time_proj",
    ):
        assert not is_quantized_linear(name)


def test_they_are_nearly_all_of_a_published_model() -> None:
    name = next(name for name in manifests() if "i2v" in name.lower() and name.startswith("wan2_1"))
    state = to_module("transformer", {k: torch.empty(s, device="meta") for k, s in manifests()[name].items()})
    sizes = {name: tensor.numel() for name, tensor in state.items()}
    big = sum(size for key, size in sizes.items() if is_quantized_linear(key.removesuffix(".weight")))
    assert 0.97 < big / sum(sizes.values()) < 1
