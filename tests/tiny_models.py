"""A complete set of random models at the smallest legal sizes, in official key names: real classes, real
files.
"""

import io
from pathlib import Path

import sentencepiece
import torch
from diffusers import AutoencoderKLWan
from safetensors.torch import save_file
from torch import nn
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
    Wav2Vec2Config,
    Wav2Vec2Model,
)

from wanvideo.checkpoint.keys import to_official
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.transformer import WanTransformer

TEXT_DIM, IMAGE_DIM, SPEECH_DIM, SPEECH_LAYERS = 64, 80, 64, 2
AUDIO = AudioConfig(
    layers=SPEECH_LAYERS, channels=SPEECH_DIM, intermediate_dim=16, context_tokens=4, output_dim=32
)
PROFILE = """{"label": "Tiny", "area": 4096, "defaults": {
 "talk": {"window_frames": 9, "motion_frames": 5, "num_inference_steps": 2, "negative_prompt": "",
 "flow_shift": 3}, "image_to_video": {"num_frames": 9, "num_inference_steps": 2, "negative_prompt": ""},
 "text_to_video": {"num_frames": 9, "num_inference_steps": 2, "negative_prompt": ""}}}"""


def write_tiny_models(folder: Path) -> Path:
    """Write the set and return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        talk = _transformer(36, IMAGE_DIM, AUDIO)
        parts = {
            "tiny_t2v": ("transformer", _transformer(16, None, None)),
            "tiny_vae": ("vae", AutoencoderKLWan(base_dim=8, z_dim=16, num_res_blocks=1)),
            "tiny_umt5": ("text_encoder", _text_encoder()),
            "tiny_clip": ("image_encoder", _image_encoder()),
            "tiny_wav2vec2": ("speech_encoder", _speech_encoder()),
        }
    for name, (component, module) in parts.items():
        _write(folder / f"{name}.safetensors", to_official(component, _state(module)))
    official = to_official("transformer", _state(talk))
    audio = {name for name in official if "audio_" in name or ".norm_x." in name}
    _write(folder / "tiny_infinitetalk.safetensors", {name: official[name] for name in audio})
    _write(folder / "tiny_i2v.safetensors", {name: official[name] for name in official.keys() - audio})
    (folder / "spiece.model").write_bytes(_tokenizer())
    (folder / "model.json").write_text(PROFILE)
    return folder


def _transformer(in_channels: int, image_dim: int | None, audio: AudioConfig | None) -> WanTransformer:
    model = WanTransformer(
        num_layers=2,
        num_attention_heads=2,
        attention_head_dim=128,
        in_channels=in_channels,
        out_channels=16,
        text_dim=TEXT_DIM,
        freq_dim=64,
        ffn_dim=64,
        image_dim=image_dim,
        added_kv_proj_dim=None if image_dim is None else 256,
        audio=audio,
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            nn.init.normal_(parameter, std=0.05)
    return model


def _text_encoder() -> UMT5EncoderModel:
    return UMT5EncoderModel(
        UMT5Config(
            d_model=TEXT_DIM,
            d_kv=64,
            num_heads=1,
            num_layers=1,
            d_ff=64,
            vocab_size=300,
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


def _tokenizer() -> bytes:
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["a picture that speaks", "a red ball bounces", "a cat looks at the window"]),
        model_writer=written,
        vocab_size=290,
        hard_vocab_limit=False,
        byte_fallback=True,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        minloglevel=2,
    )
    return written.getvalue()


def _state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach() for name, tensor in module.state_dict().items()}


def _write(path: Path, state: dict[str, torch.Tensor]) -> None:
    save_file({name: tensor.contiguous().clone() for name, tensor in state.items()}, str(path))
