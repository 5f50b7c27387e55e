"""Wan 2.1's causal video VAE: pixels in [-1, 1] <-> normalised latents, 4 frames and 8 x 8 pixels to one.

Both ways walk along the frames with the cache of the causal convolutions, so that what is on the card does
not grow with the length of a video; in tiles it does not grow with the picture either.
"""

from collections.abc import Iterator

import torch
from diffusers import AutoencoderKLWan
from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d
from torch import Tensor, nn

from wanvideo.errors import UserError
from wanvideo.geometry import FRAME_STEP, latent_frames
from wanvideo.models.vae_blocks import channels_last
from wanvideo.models.vae_tiles import CELL, Tile, tile_grid


@torch.no_grad()
def encode(vae: AutoencoderKLWan, video: Tensor, tile: int = 0) -> Tensor:
    """Video (3, F, H, W) in [-1, 1], F = 4k + 1 -> latents (16, k + 1, H / 8, W / 8), fp32, where the VAE is.

    The mode of the posterior, (mean - latents_mean) / latents_std, as the official code encodes. The video
    may stay on the host. `tile`: edge in pixels of tiles that are encoded one after the other and blended,
    see `tile_grid`; 0 is the whole. Raises UserError where fp16 is too small for what the network makes.
    """
    mean, std = _statistics(vae)
    frames, height, width = video.shape[1:]
    shape = (vae.config.z_dim, latent_frames(frames), height // CELL, width // CELL)
    blended = torch.zeros(shape, device=vae.device)
    for part in tile_grid(height, width, tile):
        pixels, cells = _cut(video, part, CELL), _cut(blended, part)
        cells += _encode_all(vae, pixels) * _shares(part).to(vae.device)
    latents: Tensor = (blended - mean) / std
    if vae.dtype == torch.float16 and not latents.isfinite().all():
        raise UserError("the VAE can't encode this picture in fp16", fix="Set vae_precision to fp32.")
    return latents


def decode(vae: AutoencoderKLWan, latents: Tensor, tile: int = 0) -> Tensor:
    """Latents (16, T, h, w) -> video (3, 4T - 3, 8h, 8w) in fp32 in [-1, 1]: the joined `decode_pieces`."""
    return torch.cat(list(decode_pieces(vae, latents, tile)), dim=1)


@torch.no_grad()
def decode_pieces(vae: AutoencoderKLWan, latents: Tensor, tile: int = 0) -> Iterator[Tensor]:
    """Latents (16, T, h, w) -> pieces (3, 1 or 4, 8h, 8w) in fp32 in [-1, 1] on the VAE's device, in order.

    The first piece is one frame. Each is made when it is asked for. In tiles (`tile` as in `encode`) the
    pieces come after the last tile, from a video that is blended in host memory: tiles are for cards without
    room for a picture, and the whole video takes more than a tile.
    """
    mean, std = _statistics(vae)
    scaled = (latents.to(vae.device, torch.float32) * std + mean).to(vae.dtype)
    height, width = (edge * CELL for edge in latents.shape[-2:])
    parts = tile_grid(height, width, tile)
    pieces = _decode_each(vae, scaled) if len(parts) == 1 else _blend_tiles(vae, scaled, parts)
    for piece in pieces:
        yield piece.to(vae.device).clamp(-1, 1)


def _blend_tiles(vae: AutoencoderKLWan, scaled: Tensor, parts: tuple[Tile, ...]) -> Iterator[Tensor]:
    length, height, width = scaled.shape[1:]
    video = torch.zeros(3, (length - 1) * FRAME_STEP + 1, height * CELL, width * CELL)
    for part in parts:
        shares, pixels = _shares(part, CELL).to(vae.device), _cut(video, part, CELL)
        for piece, place in zip(_decode_each(vae, _cut(scaled, part)), _in_pieces(pixels), strict=True):
            place += (piece * shares).cpu()
    yield from _in_pieces(video)


def _encode_all(vae: AutoencoderKLWan, video: Tensor) -> Tensor:
    """Pixels (3, F, H, W) -> means (16, T, h, w) in fp32, not normalised."""
    cache = _empty_cache(vae.encoder)
    steps = [
        vae.encoder(piece[None].to(vae.device, vae.dtype), feat_cache=cache, feat_idx=[0])
        for piece in _in_pieces(video)
    ]
    moments = vae.quant_conv(torch.cat(steps, dim=2))
    means: Tensor = moments.chunk(2, dim=1)[0][0].float()
    return means


def _decode_each(vae: AutoencoderKLWan, scaled: Tensor) -> Iterator[Tensor]:
    """Latents (16, T, h, w), not normalised -> pieces (3, 1 or 4, 8h, 8w) in fp32."""
    cache = _empty_cache(vae.decoder)
    for step in vae.post_quant_conv(scaled[None]).split(1, dim=2):
        piece = vae.decoder(step, feat_cache=cache, feat_idx=[0])
        yield piece[0].float()


def _in_pieces(video: Tensor) -> Iterator[Tensor]:
    """(3, 4k + 1, H, W) -> the first frame, then the others by four: what the VAE takes and gives at once."""
    yield video[:, :1]
    yield from video[:, 1:].split(FRAME_STEP, dim=1) if video.shape[1] > 1 else ()


def _cut(video: Tensor, part: Tile, factor: int = 1) -> Tensor:
    """What is in the tile; `factor` 8 where the video is pixels."""
    rows, columns = part.rows.times(factor), part.columns.times(factor)
    return video[..., rows.start : rows.stop, columns.start : columns.stop]


def _shares(part: Tile, factor: int = 1) -> Tensor:
    """What the tile has of each cell (h, w), or of each pixel when `factor` is 8."""
    rows, columns = (torch.tensor(span.times(factor).weights()) for span in (part.rows, part.columns))
    return rows[:, None] * columns


def _empty_cache(network: nn.Module) -> list[Tensor | str | None]:
    """What the causal convolutions remember from piece to piece, filled by the network itself."""
    return [None for module in network.modules() if isinstance(module, WanCausalConv3d)]


def use_fast_cpu_convolution(vae: AutoencoderKLWan) -> AutoencoderKLWan:
    """Let the 3D convolutions use oneDNN for fp32 inference on a CPU, about twice as fast as torch's choice,
    and keep weights there with their channels last, which makes decoding 1.6 and encoding 2 times as fast
    again.

    Anything else (another device or dtype, gradients) still takes torch's own way.
    """
    for module in vae.modules():
        if type(module) is WanCausalConv3d:
            module.__class__ = OneDnnCausalConv3d
    on_host = next(vae.parameters()).device.type == "cpu"
    return channels_last(vae) if on_host else vae


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
    """Mean and deviation of each latent channel, (16, 1, 1, 1): the official ones, from the config."""
    shape = (-1, 1, 1, 1)
    mean, std = torch.tensor(vae.config.latents_mean), torch.tensor(vae.config.latents_std)
    return mean.to(vae.device).view(shape), std.to(vae.device).view(shape)
