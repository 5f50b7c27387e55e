"""The peers: diffusers' own Wan transformer and VAE in bf16, over the same weights as ours."""

from dataclasses import dataclass

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTransformer3DModel
from torch import Tensor

from benchmarks.measuring import device
from benchmarks.random_model import DTYPE, ModelSize
from wanvideo.checkpoint.configs import vae_config
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.state import module_state
from wanvideo.models.transformer import PATCH, WanTransformer


def stock_transformer(size: ModelSize, ours: WanTransformer) -> WanTransformer3DModel:
    """As `from_pretrained` with bf16 would have it. The weights are those of `ours`: big linears are the same
    tensors, what is kept in another dtype here and there is copied.
    """
    with torch.device("meta"):
        model = WanTransformer3DModel(**size.config())
    kept = set(WanTransformer3DModel._keep_in_fp32_modules)
    state = {
        name: tensor.to(torch.float32 if kept & set(name.split(".")) else DTYPE)
        for name, tensor in ours.state_dict().items()
    }
    model.load_state_dict(state, assign=True)
    head_dim, longest = size.config()["attention_head_dim"], model.config.rope_max_seq_len
    model.rope = WanRotaryPosEmbed(head_dim, PATCH, longest).to(device())  # its tables are in no file
    return model.eval().requires_grad_(False)


@dataclass(frozen=True, slots=True, kw_only=True)
class StockCall:
    """A forward pass of the stock model over latents (1, 16, T, h, w) and prompt rows (1, 512, text_dim)."""

    model: WanTransformer3DModel
    latents: Tensor
    prompt: Tensor
    timestep: float

    def __call__(self) -> Tensor:
        """v (1, 16, T, h, w)."""
        timestep = torch.full((1,), self.timestep, device=device())
        given = (self.latents.to(DTYPE), timestep, self.prompt)
        output: Tensor = self.model(*given, return_dict=False)[0]
        return output


def stock_vae(facts: CheckpointFacts, dtype: torch.dtype) -> AutoencoderKLWan:
    """Diffusers' VAE with the weights of the file, and nothing of ours."""
    state = module_state(facts, dtype)
    vae = AutoencoderKLWan(**vae_config(state))
    vae.load_state_dict(state)
    return vae.to(device(), dtype).eval().requires_grad_(False)


def stock_decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Latents (16, T, h, w), normalised -> video (3, 4T - 3, 8h, 8w) in fp32 in [-1, 1], decoded in the VAE's
    dtype as the pipelines of diffusers do it.
    """
    shape = (1, -1, 1, 1, 1)
    mean = torch.tensor(vae.config.latents_mean, device=latents.device).view(shape)
    std = torch.tensor(vae.config.latents_std, device=latents.device).view(shape)
    scaled = (latents[None] * std + mean).to(vae.dtype)
    video: Tensor = vae.decode(scaled, return_dict=False)[0]
    return video[0].float().clamp(-1, 1)
