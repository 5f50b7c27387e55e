"""The networks of the pocket model at their sizes: real classes, small numbers, nothing of their own."""

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from wanvideo.checkpoint.keys import to_module, to_official
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer

LATENT_CHANNELS = 16
MASK_CHANNELS = 4
TEXT_DIM = 128
IMAGE_DIM = 80
SPEECH_LAYERS, SPEECH_DIM = 3, 64
VOCABULARY = 512
AUDIO = AudioConfig(
    layers=SPEECH_LAYERS, channels=SPEECH_DIM, intermediate_dim=256, context_tokens=8, output_dim=64
)
# file of the release -> the name table its keys follow
FILES = {
    "pocket_vae": "vae",
    "pocket_wav2vec2": "speech_encoder",
    "pocket_umt5": "text_encoder",
    "pocket_clip": "image_encoder",
    "pocket_i2v": "transformer",
    "pocket_infinitetalk": "transformer",
    "pocket_t2v": "transformer",
}


def build_vae() -> AutoencoderKLWan:
    """Wan's video autoencoder, 4.5 M parameters: 8 x 8 pixels and 4 frames per latent, 16 channels."""
    return AutoencoderKLWan(base_dim=16, decoder_base_dim=24, z_dim=LATENT_CHANNELS, num_res_blocks=1)


def build_speech_encoder() -> Wav2Vec2Model:
    """wav2vec2 with the strides and kernels of the base model and one head of 64 channels."""
    return Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=SPEECH_DIM,
            num_hidden_layers=SPEECH_LAYERS,
            num_attention_heads=1,
            intermediate_size=2 * SPEECH_DIM,
            conv_dim=(32,) * 7,
            layerdrop=0.0,
            hidden_dropout=0.0,
            attention_dropout=0.0,
            feat_proj_dropout=0.0,
            mask_time_prob=0.0,
            apply_spec_augment=False,
        )
    )


def build_text_encoder() -> UMT5EncoderModel:
    """UMT5's encoder, three layers, two heads of 64 channels."""
    return UMT5EncoderModel(
        UMT5Config(
            vocab_size=VOCABULARY,
            d_model=TEXT_DIM,
            d_kv=64,
            d_ff=256,
            num_layers=3,
            num_heads=2,
            dropout_rate=0.0,
            feed_forward_proj="gated-gelu",
            pad_token_id=0,
            eos_token_id=1,
        )
    )


def build_image_encoder() -> CLIPVisionModel:
    """CLIP's vision tower at 224 pixels: 257 tokens of 80 channels, taken before the last of three layers."""
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=IMAGE_DIM,
            intermediate_size=2 * IMAGE_DIM,
            num_hidden_layers=3,
            num_attention_heads=1,
            image_size=224,
            patch_size=14,
            hidden_act="gelu",
        )
    )


def build_transformer(*, talks: bool) -> WanTransformer:
    """2 heads x 128. `talks`: 36 channels, picture tokens, the speech branch; else text alone, and larger."""
    sizes: dict[str, Any] = {
        "num_attention_heads": 2,
        "attention_head_dim": 128,
        "num_layers": 6 if talks else 8,
        "ffn_dim": 512 if talks else 1024,
        "text_dim": TEXT_DIM,
        "freq_dim": 256,
        "out_channels": LATENT_CHANNELS,
    }
    if not talks:
        return WanTransformer(in_channels=LATENT_CHANNELS, **sizes)
    channels = 2 * LATENT_CHANNELS + MASK_CHANNELS
    return WanTransformer(in_channels=channels, image_dim=IMAGE_DIM, audio=AUDIO, **sizes)


def save_component(folder: Path, name: str, state: dict[str, Tensor]) -> None:
    """Write `name`.safetensors in fp16 under the official key names."""
    official = to_official(FILES[name], state)
    halves = {key: value.detach().to("cpu", torch.float16).contiguous() for key, value in official.items()}
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f"{name}.partial"
    save_file(halves, partial)
    partial.replace(folder / f"{name}.safetensors")


def read_component(folder: Path, name: str) -> dict[str, Tensor]:
    """The state of `name`.safetensors in fp32 under the module's own key names."""
    official = load_file(folder / f"{name}.safetensors")
    return {key: value.float() for key, value in to_module(FILES[name], official).items()}


def load_component(module: nn.Module, folder: Path, *names: str) -> bool:
    """Fill `module` from the files `names` (joined) of `folder`; False when the first one is not there."""
    if not (folder / f"{names[0]}.safetensors").exists():
        return False
    state: dict[str, Tensor] = {}
    for name in names:
        state |= read_component(folder, name)
    missing, unexpected = module.load_state_dict(state, strict=False)
    missing = [key for key in missing if not key.startswith("encoder.embed_tokens")]
    if missing or unexpected:
        raise ValueError(f"{names}: missing {missing[:4]}, unexpected {unexpected[:4]}")
    return True
