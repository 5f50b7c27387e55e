"""The video autoencoder over a whole clip at once: the same function as frame by frame, for training.

Tensors are (batch, frames, height, width, channels), contiguous, and a causal 3-D convolution is one 2-D
convolution over three frames laid side by side in the channels: fast kernels forwards and backwards. Only
frame 0 needs a rule of its own (no time convolution there, up or down).
"""

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanAttentionBlock,
    WanMidBlock,
    WanResample,
    WanResidualBlock,
    WanUpBlock,
)
from torch import Tensor, nn

F = nn.functional


class ClipVae(nn.Module):
    """`vae` with encode and decode over all frames in parallel; the weights are the vae's own."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        super().__init__()
        self.vae = vae
        shape = (1, -1, 1, 1, 1)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).view(shape), persistent=False)
        self.register_buffer("std", torch.tensor(vae.config.latents_std).view(shape), persistent=False)

    def posterior(self, video: Tensor) -> tuple[Tensor, Tensor]:
        """Video (B, 3, 4n + 1, H, W) in [-1, 1] -> mean and log variance, (B, 16, n + 1, H / 8, W / 8)."""
        encoder = self.vae.encoder
        x = _convolve(encoder.conv_in, video.permute(0, 2, 3, 4, 1).contiguous())
        for layer in encoder.down_blocks:
            x = _layer(layer, x)
        x = _activate_convolve(encoder.conv_out, _middle(encoder.mid_block, x), encoder.norm_out.gamma)
        x = _convolve(self.vae.quant_conv, x).permute(0, 4, 1, 2, 3).float()
        mean, log_variance = x.chunk(2, dim=1)
        return mean, log_variance.clamp(-30, 20)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Latents (B, 16, T, h, w) -> video (B, 3, 4T - 3, 8h, 8w), not clamped."""
        decoder = self.vae.decoder
        x = _convolve(self.vae.post_quant_conv, latents.permute(0, 2, 3, 4, 1).contiguous())
        x = _middle(decoder.mid_block, _convolve(decoder.conv_in, x))
        for block in decoder.up_blocks:
            x = _layer(block, x)
        x = _activate_convolve(decoder.conv_out, x, decoder.norm_out.gamma)
        return x.permute(0, 4, 1, 2, 3).float()

    def encode(self, video: Tensor) -> Tensor:
        """Video -> latents as the transformer sees them: means, normalised by the official mean and std."""
        mean, _ = self.posterior(video)
        return (mean - self.mean) / self.std

    def decode(self, latents: Tensor) -> Tensor:
        """The way back of `encode`, clamped to [-1, 1]."""
        return self.reconstruct(latents * self.std + self.mean).clamp(-1, 1)


def _norm_silu(x: Tensor, gamma: Tensor) -> Tensor:
    """Wan's RMS norm over the channels, then SiLU."""
    return F.silu(_rms_norm(x, gamma))


def _norm_silu_with_past(x: Tensor, gamma: Tensor) -> Tensor:
    return _with_past(_norm_silu(x, gamma))


def _rms_norm(x: Tensor, gamma: Tensor) -> Tensor:
    wide = x.float()
    scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + 1e-12)
    return (wide * scale * gamma.flatten()).to(x.dtype)


def _convolve(conv: nn.Conv3d, x: Tensor) -> Tensor:
    """Causal 3-D convolution of stride 1: zeros before frame 0, the usual padding in space."""
    if conv.kernel_size[0] == 1 or x.shape[1] == 1:
        return _convolve_frames(x, conv.weight[:, :, -1], conv.bias)
    return _convolve_past(conv, _with_past(x))


def _activate_convolve(conv: nn.Conv3d, x: Tensor, gamma: Tensor) -> Tensor:
    """Norm, SiLU and causal convolution; the first two in one kernel on a GPU."""
    fused = x.is_cuda
    if x.shape[1] == 1:
        return _convolve(conv, (_fused_norm_silu if fused else _norm_silu)(x, gamma))
    return _convolve_past(conv, (_fused_norm_silu_with_past if fused else _norm_silu_with_past)(x, gamma))


def _convolve_past(conv: nn.Conv3d, x: Tensor) -> Tensor:
    return _convolve_frames(x, conv.weight.transpose(1, 2).flatten(1, 2), conv.bias)


def _with_past(x: Tensor) -> Tensor:
    """Each frame with the two before it: (B, F, H, W, C) -> (B, F, H, W, 3 C)."""
    padded = F.pad(x, (0, 0, 0, 0, 0, 0, 2, 0))
    return torch.cat([padded[:, :-2], padded[:, 1:-1], x], dim=-1)


def _convolve_frames(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1) -> Tensor:
    frames = x.flatten(0, 1).permute(0, 3, 1, 2)  # channels last in memory: no copy
    padding = weight.shape[-1] // 2 if stride == 1 else 0
    out: Tensor = F.conv2d(
        frames, weight.contiguous(memory_format=torch.channels_last), bias, stride, padding
    )
    return out.permute(0, 2, 3, 1).reshape(*x.shape[:2], *out.shape[2:], -1)


def _layer(layer: nn.Module, x: Tensor) -> Tensor:
    if isinstance(layer, WanResidualBlock):
        return _residual(layer, x)
    if isinstance(layer, WanAttentionBlock):
        return _attend(layer, x)
    if isinstance(layer, WanUpBlock):
        for child in [*layer.resnets, *(layer.upsamplers or [])]:
            x = _layer(child, x)
        return x
    if isinstance(layer, WanResample):
        return _upsample(layer, x) if layer.mode.startswith("up") else _downsample(layer, x)
    raise ValueError(f"no whole-clip form of {type(layer).__name__}")


def _residual(block: WanResidualBlock, x: Tensor) -> Tensor:
    shortcut = x if isinstance(block.conv_shortcut, nn.Identity) else _convolve(block.conv_shortcut, x)
    x = _activate_convolve(block.conv1, x, block.norm1.gamma)
    return shortcut + _activate_convolve(block.conv2, x, block.norm2.gamma)


def _middle(middle: WanMidBlock, x: Tensor) -> Tensor:
    return _residual(middle.resnets[1], _attend(middle.attentions[0], _residual(middle.resnets[0], x)))


def _attend(block: WanAttentionBlock, x: Tensor) -> Tensor:
    """Attention of one head inside each frame."""
    qkv = F.linear(_rms_norm(x, block.norm.gamma), block.to_qkv.weight.flatten(1), block.to_qkv.bias)
    query, key, value = qkv.flatten(0, 1).flatten(1, 2)[:, None].chunk(3, dim=-1)
    attended = F.scaled_dot_product_attention(query, key, value)[:, 0].reshape(x.shape)
    return x + F.linear(attended, block.proj.weight.flatten(1), block.proj.bias)


def _downsample(block: WanResample, x: Tensor) -> Tensor:
    conv = block.resample[1]
    x = _convolve_frames(F.pad(x, (0, 0, 0, 1, 0, 1)), conv.weight, conv.bias, stride=2)
    if block.mode == "downsample2d" or x.shape[1] == 1:
        return x
    triples = torch.cat([x[:, 0:-2:2], x[:, 1:-1:2], x[:, 2::2]], dim=-1)
    weight = block.time_conv.weight[..., 0, 0].transpose(1, 2).flatten(1)
    return torch.cat([x[:, :1], F.linear(triples, weight, block.time_conv.bias)], dim=1)


def _upsample(block: WanResample, x: Tensor) -> Tensor:
    if block.mode == "upsample3d" and x.shape[1] > 1:
        weight = block.time_conv.weight[..., 0, 0].transpose(1, 2).flatten(1)
        doubled = F.linear(_with_past(x[:, 1:]), weight, block.time_conv.bias).unflatten(-1, (2, -1))
        # (B, F, H, W, 2, C) -> two frames for each but the first
        x = torch.cat([x[:, :1], doubled.permute(0, 1, 4, 2, 3, 5).flatten(1, 2)], dim=1)
    conv = block.resample[1]
    larger = x[:, :, :, None, :, None].expand(-1, -1, -1, 2, -1, 2, -1).flatten(4, 5).flatten(2, 3)
    return _convolve_frames(larger, conv.weight, conv.bias)


_fused_norm_silu = torch.compile(_norm_silu, dynamic=True)
_fused_norm_silu_with_past = torch.compile(_norm_silu_with_past, dynamic=True)
