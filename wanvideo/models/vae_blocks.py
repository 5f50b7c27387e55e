"""The VAE's blocks for a card: activations stay channels-last, so that all that is no convolution is a few
passes over rows (frames * height * width, channels).

A causal convolution gets its frames in one room (1, C, 2 + f, h, w) whose first two are those that it
remembers; a norm writes into the rest. So nothing is joined or padded. Each module is the one of diffusers
with another class: weights and names are the same, and so is the outcome, within rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl_wan import (
    WanCausalConv3d,
    WanDecoder3d,
    WanEncoder3d,
    WanResample,
    WanResidualBlock,
    WanRMS_norm,
    WanUpsample,
)
from torch import Tensor, nn
from torch.nn import functional

PAST = 2  # frames that a convolution over three frames needs before its first one
TINY = 1e-24  # of the mean square: 1e-12 of the length, as in `WanRMS_norm`, within what shows
NOT_YET = "Rep"  # in the cache of diffusers' upsampling, after the frame that is not doubled

Cache: TypeAlias = list[Tensor | str | None] | None
Place: TypeAlias = list[int] | None
Network = TypeVar("Network", bound=nn.Module)


def normed(rows: Tensor, gamma: Tensor, out: Tensor) -> None:
    """`out` = silu(norm(rows)), of rows (n, C). x / max(|x|, 1e-12) * sqrt(C) * gamma, as `WanRMS_norm` has
    it, is x / sqrt(mean(x^2)) * gamma.
    """
    out.copy_(functional.silu(functional.rms_norm(rows, gamma.shape, gamma, TINY)))


def biased_normed(rows: Tensor, bias: Tensor, gamma: Tensor, out: Tensor) -> None:
    """`normed` of rows that lack the bias (C) of the convolution that made them."""
    normed(rows + bias, gamma, out)


def summed(rows: Tensor, bias: Tensor, residual: Tensor) -> None:
    """Adds the bias (C) of the convolution that made them and a residual (n, C) to rows (n, C)."""
    rows.add_(bias).add_(residual)


@dataclass(frozen=True, slots=True, kw_only=True)
class RowWork:
    """The functions of rows, as they are or as compiled code."""

    normed: Callable[[Tensor, Tensor, Tensor], None] = normed
    biased_normed: Callable[[Tensor, Tensor, Tensor, Tensor], None] = biased_normed
    summed: Callable[[Tensor, Tensor, Tensor], None] = summed


class OnRows:
    """A part of the VAE that has some `row_work`."""

    row_work = RowWork()


class RowsCausalConv3d(WanCausalConv3d):
    """Pads in space by itself, so that only the frames before are put in front of a video."""

    def forward(self, x: Tensor, cache_x: Tensor | None = None) -> Tensor:
        needed = self._padding[4]
        if needed:
            room = self.room(x, cache_x, needed)
            room[:, :, needed:] = x
            x = room
        return self.convolve(x, self.bias)

    def room(self, like: Tensor, past: Tensor | None, needed: int = PAST) -> Tensor:
        """Room (b, C, needed + f, h, w) for frames that are as many and as large as those of `like`; in front
        of them stand those of `past`, and zeros where it is shorter than what is needed.
        """
        batch, _, frames, height, width = like.shape
        known = 0 if past is None else past.shape[2]
        shape = (batch, self.in_channels, needed + frames, height, width)
        layout = torch.channels_last_3d
        room = torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)
        if known < needed:
            room[:, :, : needed - known] = 0
        if past is not None:
            room[:, :, needed - known : needed] = past
        return room

    def convolve(self, frames: Tensor, bias: Tensor | None) -> Tensor:
        """Of frames that have those before them in front. Without a bias, someone else has to add it."""
        padding = (0, self._padding[2], self._padding[0])
        return functional.conv3d(frames, self.weight, bias, self.stride, padding, self.dilation, self.groups)


class RowsResidualBlock(OnRows, WanResidualBlock):
    """The biases of both convolutions are added in the pass over rows that comes next anyway."""

    def forward(self, x: Tensor, feat_cache: Cache = None, feat_idx: Place = None) -> Tensor:
        if not _in_pieces(x, feat_cache, feat_idx):
            plain: Tensor = super().forward(x, feat_cache, feat_idx)
            return plain
        x = _channels_last(x)
        room = self._between(x, feat_cache, feat_idx)
        made = _channels_last(self.conv2.convolve(room, None))
        residual = _channels_last(self.conv_shortcut(x))
        self.row_work.summed(rows_of(made), self.conv2.bias, rows_of(residual))
        return made

    def _between(self, x: Tensor, feat_cache: Cache, feat_idx: Place) -> Tensor:
        """The input of the second convolution. What the first one made is gone when this returns."""
        write = partial(self.row_work.normed, rows_of(x), _gamma(self.norm1))
        room = _filled(self.conv1, x, write, feat_cache, feat_idx)
        made = _channels_last(self.conv1.convolve(room, None))
        del room
        gamma = _gamma(self.norm2)
        write = partial(self.row_work.biased_normed, rows_of(made), self.conv1.bias, gamma)
        return _filled(self.conv2, made, write, feat_cache, feat_idx)


class RowsUpsample(WanUpsample):
    """Without a copy in fp32: the nearest value is the same in any dtype."""

    def forward(self, x: Tensor) -> Tensor:
        larger: Tensor = nn.Upsample.forward(self, x)
        return larger


class RowsResample(WanResample):
    """Works on frames without bringing the channels to the front."""

    def forward(self, x: Tensor, feat_cache: Cache = None, feat_idx: Place = None) -> Tensor:
        if not _in_pieces(x, feat_cache, feat_idx):
            plain: Tensor = super().forward(x, feat_cache, feat_idx)
            return plain
        if self.mode == "upsample3d":
            x = self._doubled(x, feat_cache, feat_idx)
        _, channels, frames, height, width = x.shape
        pictures = rows_of(_channels_last(x)).view(frames, height, width, channels).permute(0, 3, 1, 2)
        x = self.resample(pictures)[None].transpose(1, 2)
        return self._halved(x, feat_cache, feat_idx) if self.mode == "downsample3d" else x

    def _doubled(self, x: Tensor, feat_cache: Any, feat_idx: Any) -> Tensor:
        """(1, C, f, h, w) -> (1, C, 2f, h, w), but for the first frame of a video. That one is not
        remembered, either.
        """
        place, past = feat_idx[0], feat_cache[feat_idx[0]]
        if past is None:
            feat_cache[place] = NOT_YET
            feat_idx[0] += 1
            return x
        feat_cache[place] = None if isinstance(past, str) else past
        made = _channels_last(_causal(self.time_conv, x, feat_cache, feat_idx))
        _, channels, frames, height, width = x.shape
        pairs = rows_of(made).view(frames, height, width, 2, channels).permute(0, 3, 1, 2, 4)
        doubled = pairs.reshape(1, 2 * frames, height, width, channels)
        return doubled.permute(0, 4, 1, 2, 3)

    def _halved(self, x: Tensor, feat_cache: Any, feat_idx: Any) -> Tensor:
        """(1, C, f, h, w) -> (1, C, f / 2, h, w), but for the first frame of a video."""
        place, past = feat_idx[0], feat_cache[feat_idx[0]]
        feat_cache[place] = x[:, :, -1:].clone()
        feat_idx[0] += 1
        if past is None:
            return x
        frames = self.time_conv.room(x, past, needed=1)
        frames[:, :, 1:] = x
        return self.time_conv.convolve(frames, self.time_conv.bias)


class RowsEncoder(OnRows, WanEncoder3d):
    """Differs from its parent in the first and the last convolution."""

    def forward(self, x: Tensor, feat_cache: Cache = None, feat_idx: Place = None) -> Tensor:
        if not _in_pieces(x, feat_cache, feat_idx):
            plain: Tensor = super().forward(x, feat_cache, feat_idx)
            return plain
        x = _causal(self.conv_in, x, feat_cache, feat_idx)
        for layer in self.down_blocks:
            x = layer(x, feat_cache=feat_cache, feat_idx=feat_idx)
        x = self.mid_block(x, feat_cache=feat_cache, feat_idx=feat_idx)
        return _last(self, x, feat_cache, feat_idx)


class RowsDecoder(OnRows, WanDecoder3d):
    """Differs from its parent in the first and the last convolution."""

    def forward(
        self, x: Tensor, feat_cache: Cache = None, feat_idx: Place = None, first_chunk: bool = False
    ) -> Tensor:
        if not _in_pieces(x, feat_cache, feat_idx):
            plain: Tensor = super().forward(x, feat_cache, feat_idx, first_chunk)
            return plain
        x = _causal(self.conv_in, x, feat_cache, feat_idx)
        x = self.mid_block(x, feat_cache=feat_cache, feat_idx=feat_idx)
        for block in self.up_blocks:
            x = block(x, feat_cache=feat_cache, feat_idx=feat_idx, first_chunk=first_chunk)
        return _last(self, x, feat_cache, feat_idx)


_CLASSES: dict[type[nn.Module], type[nn.Module]] = {
    WanCausalConv3d: RowsCausalConv3d,
    WanResidualBlock: RowsResidualBlock,
    WanUpsample: RowsUpsample,
    WanResample: RowsResample,
    WanEncoder3d: RowsEncoder,
    WanDecoder3d: RowsDecoder,
}


def use_rows(vae: Network) -> Network:
    """Let a VAE, or a part of it, compute as this file says, in place; any dtype and device will do."""
    for module in vae.modules():
        module.__class__ = _CLASSES.get(type(module), type(module))
    return channels_last(vae)


def channels_last(network: Network) -> Network:
    """Keeps the weights of convolutions with their channels last: what goes through takes over their
    layout.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            layout = torch.channels_last if isinstance(module, nn.Conv2d) else torch.channels_last_3d
            module.weight.data = module.weight.data.contiguous(memory_format=layout)
    return network


def rows_of(video: Tensor) -> Tensor:
    """(1, C, f, h, w) -> the same memory as rows (f * h * w, C), one after the other if the video is
    channels-last. Raises RuntimeError where they are not evenly spaced.
    """
    return video.permute(0, 2, 3, 4, 1).view(-1, video.shape[1])


def _filled(
    conv: RowsCausalConv3d, like: Tensor, write: Callable[[Tensor], Any], feat_cache: Any, feat_idx: Any
) -> Tensor:
    """The input of `conv` behind what it remembers; `write` is given the rows of the new frames. The last
    frames are remembered as a copy, else all of them would stay.
    """
    place = feat_idx[0]
    room = conv.room(like, feat_cache[place])
    write(rows_of(room[:, :, PAST:]))
    feat_cache[place] = room[:, :, -PAST:].clone()
    feat_idx[0] += 1
    return room


def _causal(conv: RowsCausalConv3d, x: Tensor, feat_cache: Cache, feat_idx: Place) -> Tensor:
    """`conv` of frames as they are, behind what it remembers."""
    x = _channels_last(x)
    room = _filled(conv, x, lambda out: out.copy_(rows_of(x)), feat_cache, feat_idx)
    return conv.convolve(room, conv.bias)


def _last(network: Any, x: Tensor, feat_cache: Cache, feat_idx: Place) -> Tensor:
    x = _channels_last(x)
    conv: RowsCausalConv3d = network.conv_out
    write = partial(network.row_work.normed, rows_of(x), _gamma(network.norm_out))
    return conv.convolve(_filled(conv, x, write, feat_cache, feat_idx), conv.bias)


def _in_pieces(x: Tensor, feat_cache: Cache, feat_idx: Place) -> bool:
    """Whether it is one video, piece by piece; rows of several would not lie one after the other."""
    return feat_cache is not None and feat_idx is not None and len(x) == 1


def _channels_last(video: Tensor) -> Tensor:
    """Itself, where it comes from such a convolution."""
    return video.contiguous(memory_format=torch.channels_last_3d)


def _gamma(norm: WanRMS_norm) -> Tensor:
    gamma: Tensor = norm.gamma.view(-1)
    return gamma
