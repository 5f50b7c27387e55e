"""The tiny set of models whose weights every synthetic file holds: real classes, random numbers.

Widths are multiples of 256, which the K types of GGUF need, and rows differ from columns, so that no
transposed weight can pass. The numbers are handed out in float64 under the modules' own names.
"""

from collections.abc import Callable
from functools import cache

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

from tests.checkpoint.synthetic.minifloats import Array
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer

DIM, LAYERS, TEXT_DIM, IMAGE_DIM, SPEECH_DIM, SPEECH_LAYERS = 256, 2, 256, 80, 64, 2
VAE_RESNETS = 3  # at each size of the decoder
AUDIO = AudioConfig(
    layers=SPEECH_LAYERS, channels=SPEECH_DIM, intermediate_dim=16, context_tokens=4, output_dim=256
)
State = dict[str, Array]


def _transformer(channels: int, audio: AudioConfig | None = None) -> WanTransformer:
    image = channels == 36
    return WanTransformer(
        num_layers=LAYERS,
        num_attention_heads=DIM // 128,
        attention_head_dim=128,
        in_channels=channels,
        out_channels=16,
        text_dim=TEXT_DIM,
        freq_dim=64,
        ffn_dim=2 * DIM,
        image_dim=IMAGE_DIM if image else None,
        added_kv_proj_dim=DIM if image else None,
        audio=audio,
    )


def _text_encoder() -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            d_model=TEXT_DIM,
            d_kv=64,
            num_heads=4,
            num_layers=2,
            d_ff=2 * TEXT_DIM,
            vocab_size=512,
            feed_forward_proj="gated-gelu",
        )
    )


def _image_encoder() -> CLIPVisionModel:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=IMAGE_DIM,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=1,
            patch_size=14,
            hidden_act="gelu",
        )
    )


def _speech_encoder() -> Wav2Vec2Model:
    return Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=SPEECH_DIM,
            num_hidden_layers=SPEECH_LAYERS,
            num_attention_heads=1,
            intermediate_size=64,
            conv_dim=(16,) * 7,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    )


EMPTY: dict[str, Callable[[], nn.Module]] = {
    "t2v": lambda: _transformer(16),
    "i2v": lambda: _transformer(36),
    "talk": lambda: _transformer(36, AUDIO),
    "vae": lambda: AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=VAE_RESNETS - 1),
    "text_encoder": _text_encoder,
    "image_encoder": _image_encoder,
    "speech_encoder": _speech_encoder,
}


@cache
def original(which: str) -> State:
    """The numbers of one model of `EMPTY`."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        module = EMPTY[which]()
        for name, parameter in module.named_parameters():
            _fill(name, parameter.data, is_transformer=which in ("t2v", "i2v", "talk"))
    state = {name: tensor.double().numpy() for name, tensor in module.state_dict().items()}
    state.pop("encoder.embed_tokens.weight", None)  # the same tensor as `shared`
    return state


def filled(which: str, state: State) -> nn.Module:
    """The module with those numbers in fp32, without the application's loader."""
    module = EMPTY[which]()
    tensors = {name: torch.from_numpy(values).float() for name, values in state.items()}
    if which == "text_encoder":
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"]
    module.load_state_dict(tensors)
    return module.eval().requires_grad_(False)


def _fill(name: str, values: torch.Tensor, *, is_transformer: bool) -> None:
    if values.ndim == 1 and ("norm" in name or "gamma" in name) and not name.endswith("bias"):
        nn.init.normal_(values, 1, 0.1)
    elif is_transformer or values.ndim == 1:
        nn.init.normal_(values, 0, 0.05)
