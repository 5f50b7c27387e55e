"""Which random files there are: the published models' parts, and the same at tiny sizes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from benchmarks.random_model import TINY, WAN_14B, ModelSize
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer

WAN_1_3B = ModelSize(
    heads=12, ffn_dim=8960, layers=30, text_dim=4096, freq_dim=256, latents=(16, 21, 60, 104)
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RandomFile:
    """A file without its mode: what is in it, and how large. `audio`: None for all tensors of the module,
    else those of InfiniteTalk alone, or all others. `dtype` counts where there is no transformer.
    """

    stem: str
    component: str
    build: Callable[[], nn.Module]
    dtype: torch.dtype = torch.bfloat16
    audio: bool | None = None

    def path(self, folder: Path, mode: str) -> Path:
        """Where it is in the folder, when its big linears are stored as `mode` has them."""
        return folder / (
            f"{self.stem}_{mode}.safetensors" if self.audio is not None else f"{self.stem}.safetensors"
        )


def transformer(
    size: ModelSize, *, image_dim: int | None = None, audio: AudioConfig | None = None
) -> WanTransformer:
    """Text to video; with `image_dim` image to video, with `audio` InfiniteTalk joined on."""
    config = size.config()
    if image_dim is not None:
        config |= {"in_channels": 36, "image_dim": image_dim, "added_kv_proj_dim": size.heads * 128}
    return WanTransformer(**config, audio=audio)


def _files(
    sizes: tuple[ModelSize, ModelSize],
    audio: AudioConfig,
    text: Mapping[str, Any],
    image: Mapping[str, Any],
    speech: Mapping[str, Any],
    vae: Mapping[str, Any],
) -> dict[str, RandomFile]:
    large, small = sizes
    talk = partial(transformer, large, image_dim=image["hidden_size"], audio=audio)
    diffusion = partial(RandomFile, component="transformer", audio=False)
    return {
        "t2v_14b": diffusion(stem="random_t2v_14b", build=partial(transformer, large)),
        "i2v_14b": diffusion(stem="random_i2v_14b", build=talk),
        "t2v_1_3b": diffusion(stem="random_t2v_1_3b", build=partial(transformer, small)),
        "infinitetalk": RandomFile(
            stem="random_infinitetalk_single", component="infinitetalk", build=talk, audio=True
        ),
        "text_encoder": RandomFile(
            stem="random_umt5",
            component="text_encoder",
            build=lambda: UMT5EncoderModel(UMT5Config(**text, d_kv=64, feed_forward_proj="gated-gelu")),
        ),
        "image_encoder": RandomFile(
            stem="random_clip",
            component="image_encoder",
            build=lambda: CLIPVisionModel(CLIPVisionConfig(**image, patch_size=14)),
            dtype=torch.float16,
        ),
        "speech_encoder": RandomFile(
            stem="random_wav2vec2",
            component="speech_encoder",
            build=lambda: Wav2Vec2Model(Wav2Vec2Config(**speech)),
            dtype=torch.float32,
        ),
        "vae": RandomFile(
            stem="random_vae",
            component="vae",
            build=lambda: AutoencoderKLWan(**vae),
            dtype=torch.float32,
        ),
    }


PUBLISHED_FILES = _files(
    (WAN_14B, WAN_1_3B),
    AudioConfig(),
    text={"vocab_size": 256384, "d_model": 4096, "num_heads": 64, "d_ff": 10240, "num_layers": 24},
    image={
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
    },
    speech={},
    vae={},
)
TINY_FILES = _files(
    (TINY, TINY),
    AudioConfig(layers=2, channels=64, intermediate_dim=16, context_tokens=4, output_dim=32),
    text={"vocab_size": 4096, "d_model": 64, "num_heads": 1, "d_ff": 64, "num_layers": 2},
    image={"hidden_size": 80, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 1},
    speech={
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 1,
        "intermediate_size": 64,
        "conv_dim": (16,) * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    },
    vae={"base_dim": 8, "num_res_blocks": 1},
)
ENCODERS = ("text_encoder", "vae")
PICTURE_ENCODERS = (*ENCODERS, "image_encoder")
TALK_ENCODERS = (*PICTURE_ENCODERS, "speech_encoder")
