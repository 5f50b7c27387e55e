"""Small diffusion models in the layouts that published files keep quantized weights in."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.keys import names_in_module, to_official
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.which import is_quantized_linear

AUDIO = AudioConfig(layers=3, channels=4, intermediate_dim=8, context_tokens=6, output_dim=12)
SIZES: dict[str, Any] = {
    "num_attention_heads": 1,
    "attention_head_dim": 128,
    "text_dim": 24,
    "freq_dim": 32,
    "ffn_dim": 40,  # not a multiple of NVFP4's blocks
    "num_layers": 2,
    "in_channels": 36,
    "image_dim": 80,
    "added_kv_proj_dim": 128,
}
State = dict[str, Tensor]


def small_model(audio: bool = True, **sizes: Any) -> WanTransformer:
    """Random weights with an outlier in each row."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = WanTransformer(**{**SIZES, **sizes}, audio=AUDIO if audio else None)
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.05)
    return model.requires_grad_(False)


def official_state(model: WanTransformer) -> State:
    return {
        name: tensor.contiguous() for name, tensor in to_official("transformer", model.state_dict()).items()
    }


def linear_stems(state: State) -> list[str]:
    """Official stems of the linears that are quantized."""
    inside = names_in_module("transformer", state)
    stems = {name: names[0].removesuffix(".weight") for name, names in inside.items()}
    return [name.removesuffix(".weight") for name, stem in stems.items() if is_quantized_linear(stem)]


def write(path: Path, state: State, metadata: dict[str, str] | None = None) -> CheckpointFacts:
    save_file(state, path, metadata)
    return inspect_checkpoint(path)


def plain_fp8(state: State, dtype: torch.dtype = torch.float8_e4m3fn) -> State:
    """Everything cast, also what sets the gain of every token, as some published files have it."""
    return {name: tensor.to(dtype) for name, tensor in state.items()}


def scaled_fp8(state: State, scale: str = "scale_weight") -> State:
    """The linears of the blocks in e4m3 with one scale each, under ComfyUI's or Kijai's name for it."""
    written = dict(state)
    for stem in linear_stems(state):
        weight = state[f"{stem}.weight"]
        amount = weight.abs().max() / 448
        written[f"{stem}.weight"] = (weight / amount).to(torch.float8_e4m3fn)
        written[f"{stem}.{scale}"] = amount.reshape(1)
    return written


def marker(exact: bool, format: str = "float8_e4m3fn") -> Tensor:
    text = json.dumps({"format": format, "full_precision_matrix_mult": exact}).encode()
    return torch.tensor(list(text), dtype=torch.uint8)
