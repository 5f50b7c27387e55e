"""The models whose blocks are swapped (text to video, also with a LoRA, InfiniteTalk), and a pass of each."""

import math
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from benchmarks.measuring import device
from benchmarks.modes import TIMESTEP, _inputs, _set_exact_attention
from benchmarks.random_model import DTYPE, TINY, WAN_14B, build
from benchmarks.random_sizes import transformer
from wanvideo.checkpoint.lora import LoraUse, inspect_lora
from wanvideo.checkpoint.lora_model import wear_loras
from wanvideo.models.audio_projection import AudioConfig
from wanvideo.models.passes import AudioContext, Context
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import QuantizationMode

TEXT, LORA, TALK = "text to video", "with a LoRA", "talk"
LORA_RANK = 64
PICTURE_TOKENS, PICTURE_DIM = 257, 1280
TALK_LATENTS = (36, 21, 80, 80)  # 81 frames of 640 x 640: 33,600 tokens
TINY_TALK_LATENTS = (36, 3, 8, 8)


def build_model(kind: str, mode: QuantizationMode, *, quick: bool) -> WanTransformer:
    """The one that `kind` names, of the 14B model's size, or tiny."""
    size = TINY if quick else WAN_14B
    if kind == TALK:
        talk = partial(transformer, size, image_dim=PICTURE_DIM, audio=AudioConfig())
        return build(size, mode, talk)[0]
    model, _ = build(size, mode)
    if kind == LORA:
        _wear_random_lora(model)
    return model


def forward_pass(kind: str, model: WanTransformer, *, quick: bool) -> Callable[[], Tensor]:
    """A call of the model on random inputs, with the fastest exact attention."""
    size = TINY if quick else WAN_14B
    latents, prompt = _inputs(size)
    picture = audio = None
    if kind == TALK:
        latents = _random(1, *(TINY_TALK_LATENTS if quick else TALK_LATENTS))
        picture = _random(1, PICTURE_TOKENS, PICTURE_DIM)
        audio = AudioContext(model.embed_audio(_speech(latents.shape[2])))
    _set_exact_attention(model, latents)
    context: Context = model.embed_context(prompt, picture)
    timestep = torch.full((1,), TIMESTEP, device=device())
    return partial(model, latents, timestep, context, rotary=model.rotary(latents), audio=audio)


def _speech(latent_frames: int) -> Tensor:
    """Features around each frame of the video: (1, 1 speaker, frames, window, layers, channels)."""
    sizes = AudioConfig()
    frames = sizes.vae_scale * (latent_frames - 1) + 1
    return _random(1, 1, frames, sizes.window, sizes.layers, sizes.channels)


def _random(*shape: int) -> Tensor:
    generator = torch.Generator(device()).manual_seed(0)
    return torch.randn(shape, generator=generator, device=device())


def _wear_random_lora(model: WanTransformer) -> None:
    """One for every big linear, read from a file as any other."""
    linears = {name: linear for name, linear in model.named_modules() if is_quantized_linear(name)}
    shapes = {f"{name}.weight": _shape(linear) for name, linear in linears.items()}
    tensors = [_factors(name, shape) for name, shape in shapes.items()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "random_lora.safetensors"
        save_file({name: factor for pair in tensors for name, factor in pair.items()}, path)
        facts = inspect_lora(path, path.stem, shapes)
        wear_loras(model, [LoraUse(facts=facts)], lambda _: None)


def _shape(linear: nn.Module) -> tuple[int, int]:
    return int(linear.out_features), int(linear.in_features)  # type: ignore[arg-type]


def _factors(weight: str, shape: tuple[int, int]) -> dict[str, Tensor]:
    """Of a change that adds about a sixth to what random weights give."""
    rows, columns = shape
    generator = torch.Generator(device()).manual_seed(zlib.crc32(weight.encode()))
    down, up = (
        torch.randn(size, generator=generator, device=device()) / (2 * math.sqrt(size[1]))
        for size in ((LORA_RANK, columns), (rows, LORA_RANK))
    )
    layer = weight.removesuffix(".weight")
    return {f"{layer}.lora_A.weight": down.to(DTYPE).cpu(), f"{layer}.lora_B.weight": up.to(DTYPE).cpu()}
