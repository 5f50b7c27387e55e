"""Wan 2.1's causal video VAE: pixels in [-1, 1] <-> normalised latents, 4 frames and 8 x 8 pixels to one."""

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor


@torch.no_grad()
def encode(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """Video (3, F, H, W) in [-1, 1], F = 4k + 1 -> latents (16, k + 1, H / 8, W / 8) in fp32.

    The mode of the posterior, (mean - latents_mean) / latents_std, as the official code encodes.
    """
    mean, std = _statistics(vae)
    posterior = vae.encode(video[None].to(vae.device, vae.dtype)).latent_dist
    latents: Tensor = (posterior.mode().float() - mean) / std
    return latents[0]


@torch.no_grad()
def decode(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Latents (16, T, h, w) -> video (3, 4T - 3, 8h, 8w) in fp32, clamped to [-1, 1]."""
    mean, std = _statistics(vae)
    scaled = latents[None].to(vae.device, torch.float32) * std + mean
    video: Tensor = vae.decode(scaled.to(vae.dtype), return_dict=False)[0]
    return video[0].float().clamp(-1, 1)


def use_fast_cpu_convolution(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Let the 3D convolutions use oneDNN for fp32 inference on a CPU: about twice as fast as torch's choice.

    Anything else (another device or dtype, gradients) still takes torch's own way.
    """
    for module in vae.modules():
        if type(module) is WanCausalConv3d:
            module.__class__ = OneDnnCausalConv3d
    return vae


class OneDnnCausalConv3d(WanCausalConv3d):
    """Differs from its parent only in who computes the convolution; state and arguments are the same."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if not _fits_onednn(input, weight):
            plain: Tensor = super()._conv_forward(input, weight, bias)
            return plain
        result: Tensor = torch.mkldnn_convolution(
            input, weight, bias, self.padding, self.stride, self.dilation, self.groups
        )
        return result


def _fits_onednn(video: Tensor, weight: Tensor) -> bool:
    plain = video.device.type == "cpu" and video.dtype == weight.dtype == torch.float32
    available = torch.backends.mkldnn.is_available()
    return plain and not torch.is_grad_enabled() and available


def _statistics(vae: AutoencoderKLWan) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each latent channel, (1, 16, 1, 1, 1): the official ones, from the config."""
    shape = (1, -1, 1, 1, 1)
    mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    return mean.to(vae.device).view(shape), std.to(vae.device).view(shape)
