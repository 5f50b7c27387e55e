"""Where the video autoencoder starts from, and how its latents are brought to the official scale."""

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanAttentionBlock, WanResample, WanResidualBlock
from torch import Tensor, nn

START_LOG_VARIANCE = -6.0


@torch.no_grad()
def initialise_for_pictures(vae: AutoencoderKLWan) -> None:
    """Variance-keeping weights that look at the current frame alone.

    The taps on earlier frames are zero and the time convolutions average or repeat frames, so a model trained
    on pictures is at once a fair model of clips.
    """
    for module in vae.modules():
        if isinstance(module, nn.Conv3d | nn.Conv2d):
            fan_in = module.weight[0, :, -1].numel() if module.weight.dim() == 5 else module.weight[0].numel()
            module.weight.normal_(0, fan_in**-0.5)
            assert module.bias is not None
            module.bias.zero_()
            if module.weight.dim() == 5:
                module.weight[:, :, :-1].zero_()
    for module in vae.modules():
        if isinstance(module, WanResidualBlock):
            module.conv2.weight.mul_(0.5)
        elif isinstance(module, WanAttentionBlock):
            module.proj.weight.mul_(0.1)
        elif isinstance(module, WanResample) and hasattr(module, "time_conv"):
            _initialise_time(module)
    channels = vae.config.z_dim
    vae.quant_conv.weight[channels:].mul_(0.1)
    assert vae.quant_conv.bias is not None
    vae.quant_conv.bias[channels:] = START_LOG_VARIANCE
    vae.decoder.conv_out.weight.mul_(0.3)


def _initialise_time(block: WanResample) -> None:
    weight = block.time_conv.weight  # (out, in, 3, 1, 1)
    weight.normal_(0, 0.02)
    channels = weight.shape[1]
    eye = torch.eye(channels, device=weight.device)
    if block.mode == "upsample3d":
        weight[:channels, :, 2, 0, 0] += eye
        weight[channels:, :, 2, 0, 0] += eye
        return
    for tap, share in enumerate((0.25, 0.25, 0.5)):
        weight[:, :, tap, 0, 0] += share * eye


@torch.no_grad()
def fold_latent_scale(vae: AutoencoderKLWan, mean: Tensor, std: Tensor) -> None:
    """Make latents of per-channel `mean` and `std` come out with the official ones, and be read back so.

    The change lives in the 1 x 1 x 1 convolutions after the encoder and before the decoder, which pad
    nothing, so it is exact. The log variances shift along.
    """
    wanted_mean = torch.tensor(vae.config.latents_mean, device=mean.device)
    wanted_std = torch.tensor(vae.config.latents_std, device=mean.device)
    gain = wanted_std / std
    after, before = vae.quant_conv, vae.post_quant_conv
    channels = vae.config.z_dim
    assert after.bias is not None and before.bias is not None
    after.weight[:channels] *= gain.view(-1, 1, 1, 1, 1)
    after.bias[:channels] = (after.bias[:channels] - mean) * gain + wanted_mean
    after.bias[channels:] += 2 * gain.log()
    # decoder reads z = (official - wanted_mean) / gain + mean
    before.bias += before.weight[:, :, 0, 0, 0] @ (mean - wanted_mean / gain)
    before.weight /= gain.view(1, -1, 1, 1, 1)
