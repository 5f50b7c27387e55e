"""What a model does, to be compared: fixed inputs, fixed outputs, and the weight that a linear applies."""

import torch
from torch import Tensor, nn

from tests.checkpoint.synthetic.modules import AUDIO, IMAGE_DIM, TEXT_DIM
from wanvideo.models.passes import AudioContext
from wanvideo.models.transformer import WanTransformer

Outputs = dict[str, Tensor]


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference over largest value."""
    assert found.shape == wanted.shape
    return float((found - wanted).abs().max() / wanted.abs().max())


@torch.no_grad()
def predicted(model: WanTransformer) -> Tensor:
    """One forward pass in fp32 with prompt, picture and speech, as far as the model takes them."""
    inputs = torch.Generator().manual_seed(3)
    channels = model.config.in_channels
    latents = torch.randn(1, channels, 2, 4, 4, generator=inputs)
    prompt = torch.randn(1, 7, TEXT_DIM, generator=inputs)
    image = torch.randn(1, 257, IMAGE_DIM, generator=inputs) if channels == 36 else None
    context = model.embed_context(prompt, image)
    audio = None
    if model.audio_proj is not None:
        frames = 1 + AUDIO.vae_scale
        windows = torch.randn(1, 1, frames, AUDIO.window, AUDIO.layers, AUDIO.channels, generator=inputs)
        audio = AudioContext(model.embed_audio(windows))
    return model(latents, torch.tensor([700.0]), context, audio=audio)


@torch.no_grad()
def applied_weights(model: nn.Module) -> dict[str, Tensor]:
    """Module name -> weight (out, in) of each linear of the blocks, measured: what unit vectors become."""
    found = {}
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear) and name.startswith("blocks."):
            bias, part.bias = part.bias, None
            found[name] = part(torch.eye(part.in_features)).T
            part.bias = bias
    return found


@torch.no_grad()
def answered(component: str, model: nn.Module) -> Tensor:
    """What a VAE or an encoder makes of a fixed input, in fp32."""
    inputs = torch.Generator().manual_seed(4)
    if component == "vae":
        latents = model.encode(torch.randn(1, 3, 5, 16, 16, generator=inputs)).latent_dist.mode()
        return model.decode(latents + torch.randn(latents.shape, generator=inputs)).sample
    if component == "text_encoder":
        return model(input_ids=torch.randint(0, 500, (1, 9), generator=inputs)).last_hidden_state
    if component == "image_encoder":
        picture = torch.randn(1, 3, 224, 224, generator=inputs)
        return model(pixel_values=picture, output_hidden_states=True).hidden_states[-2]
    return model(torch.randn(1, 4000, generator=inputs)).last_hidden_state
