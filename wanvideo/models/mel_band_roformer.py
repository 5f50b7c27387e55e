"""MelBand RoFormer: which part of a stereo sound is voice, as a complex mask on its spectrogram.

The network of Wang, Lu and Won, "Mel-RoFormer for Vocal Separation and Vocal Melody Transcription"
(arXiv 2409.04702), with the sizes of Kimberley Jensen's published vocal model. Attributes are named as the
tensors of that file are.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

SAMPLE_RATE = 44_100
CHANNELS = 2
FFT, HOP = 2048, 441
HEAD_DIM = 64
FEED_FORWARD = MASK_EXPANSION = 4
ROTARY_BASE = 10_000
# Tensors of the file that the module does not have: rotary frequencies, the same in each layer. fp16
# rounds them, which at the end of a piece turns a pair by 0.1 rad.
COMPUTED = "rotary_embed.freqs"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparatorConfig:
    """Sizes that files may differ in; the published vocal model is the default. `mask_layers` counts the
    linears of a mask's MLP.
    """

    dim: int = 384
    depth: int = 6
    bands: int = 60
    heads: int = 8
    mask_layers: int = 3


class MelBandRoformer(nn.Module):
    """Attention along time and along the bands in turn; one MLP per band gives the mask of its bins."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        self.bins = band_bins(config.bands)
        sizes = [2 * CHANNELS * len(bins) for bins in self.bins]
        self.band_split = _BandSplit(config.dim, sizes)
        self.layers = nn.ModuleList(
            nn.ModuleList(_Transformer(config) for _axis in ("time", "bands")) for _ in range(config.depth)
        )
        self.mask_estimators = nn.ModuleList([_MaskEstimator(config, sizes)])

    def forward(self, sound: Tensor) -> Tensor:
        """(2, samples) fp32 at 44.1 kHz -> the voice in it, (2, samples). At least 1025 samples."""
        window = torch.hann_window(FFT, device=sound.device)
        spectrum = torch.stft(sound, FFT, HOP, window=window, return_complex=True)  # (2, bins, steps)
        parts = torch.view_as_real(spectrum).permute(2, 1, 0, 3)  # (steps, bins, 2, real and imaginary)
        x = self.band_split([parts[:, bins.start : bins.stop].flatten(1) for bins in self.bins])
        for along_time, along_bands in cast("Iterable[nn.ModuleList]", self.layers):
            x = along_bands(along_time(x.transpose(0, 1)).transpose(0, 1))
        mask = self._mean_mask(self.mask_estimators[0](x))
        return torch.istft(spectrum * mask, FFT, HOP, window=window, length=sound.shape[-1])

    def _mean_mask(self, masks: list[Tensor]) -> Tensor:
        """The masks of the bands, (steps, numbers) each -> (2, bins, steps); bands overlap: their mean."""
        total = masks[0].new_zeros(len(masks[0]), FFT // 2 + 1, CHANNELS, 2)
        count = total.new_zeros(FFT // 2 + 1, 1, 1)
        for bins, mask in zip(self.bins, masks, strict=True):
            total[:, bins.start : bins.stop] += mask.unflatten(1, (len(bins), CHANNELS, 2))
            count[bins.start : bins.stop] += 1
        return torch.view_as_complex(total / count).permute(2, 1, 0)


def band_bins(bands: int) -> list[range]:
    """The bins of the spectrum that lie inside each triangle of Slaney's mel scale (Auditory Toolbox, 1998),
    from 0 to 22050 Hz; the first band has the lowest bin and the last the highest as well.
    """
    top, bin_width = _to_mel(SAMPLE_RATE / 2), SAMPLE_RATE / FFT
    edges = [_to_hertz(top * index / (bands + 1)) / bin_width for index in range(bands + 2)]
    found = [range(math.floor(edges[i]) + 1, math.ceil(edges[i + 2])) for i in range(bands)]
    found[0] = range(found[0].stop)
    found[-1] = range(found[-1].start, FFT // 2 + 1)
    return found


_LINEAR_HERTZ, _LINEAR_MEL = 1000.0, 15.0  # up to here a mel is 66.7 Hz, above each is 6.4 ** (1 / 27) higher
_LOG_STEP = math.log(6.4) / 27


def _to_mel(hertz: float) -> float:
    if hertz < _LINEAR_HERTZ:
        return hertz * _LINEAR_MEL / _LINEAR_HERTZ
    return _LINEAR_MEL + math.log(hertz / _LINEAR_HERTZ) / _LOG_STEP


def _to_hertz(mel: float) -> float:
    if mel < _LINEAR_MEL:
        return mel * _LINEAR_HERTZ / _LINEAR_MEL
    return _LINEAR_HERTZ * math.exp((mel - _LINEAR_MEL) * _LOG_STEP)


class _Norm(nn.Module):
    """x / |x| * sqrt(dim) * gamma; zeros stay zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dim))

    def forward(self, x: Tensor) -> Tensor:
        return functional.normalize(x, dim=-1) * math.sqrt(x.shape[-1]) * self.gamma


class _BandSplit(nn.Module):
    def __init__(self, dim: int, sizes: list[int]) -> None:
        super().__init__()
        self.to_features = nn.ModuleList(nn.Sequential(_Norm(size), nn.Linear(size, dim)) for size in sizes)

    def forward(self, parts: list[Tensor]) -> Tensor:
        """(steps, numbers) of each band -> (steps, bands, dim)."""
        pairs = zip(self.to_features, parts, strict=True)
        return torch.stack([features(part) for features, part in pairs], dim=1)


class _MaskEstimator(nn.Module):
    def __init__(self, config: SeparatorConfig, sizes: list[int]) -> None:
        super().__init__()
        self.to_freqs = nn.ModuleList(
            nn.Sequential(_mask_mlp(config, 2 * size), nn.GLU(dim=-1)) for size in sizes
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(steps, bands, dim) -> (steps, numbers) of each band."""
        return [mlp(band) for mlp, band in zip(self.to_freqs, x.unbind(1), strict=True)]


def _mask_mlp(config: SeparatorConfig, out: int) -> nn.Sequential:
    widths = [config.dim, *[config.dim * MASK_EXPANSION] * (config.mask_layers - 1), out]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(before, after), nn.Tanh()]
    return nn.Sequential(*layers[:-1])


class _Transformer(nn.Module):
    """One layer of attention and one of feed forward along the middle dimension of (batch, places, dim)."""

    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        block = nn.ModuleList([_Attention(config), _FeedForward(config.dim)])
        self.layers = nn.ModuleList([block])
        self.norm = _Norm(config.dim)

    def forward(self, x: Tensor) -> Tensor:
        attention, feed_forward = cast(nn.ModuleList, self.layers[0])
        x = x + attention(x)
        return self.norm(x + feed_forward(x))


class _Attention(nn.Module):
    def __init__(self, config: SeparatorConfig) -> None:
        super().__init__()
        inner = config.heads * HEAD_DIM
        self.heads = config.heads
        self.norm = _Norm(config.dim)
        self.to_qkv = nn.Linear(config.dim, 3 * inner, bias=False)
        self.to_gates = nn.Linear(config.dim, config.heads)
        self.to_out = nn.Sequential(nn.Linear(inner, config.dim, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """(batch, places, dim) -> the same shape."""
        x = self.norm(x)
        split = self.to_qkv(x).unflatten(2, (3, self.heads, HEAD_DIM))
        query, key, value = split.permute(2, 0, 3, 1, 4)  # (batch, heads, places, 64) each
        rotary = _rotary(x.shape[1], x.device)
        seen = functional.scaled_dot_product_attention(_turn(query, rotary), _turn(key, rotary), value)
        gates = self.to_gates(x).sigmoid().transpose(1, 2)[..., None]
        return self.to_out((seen * gates).transpose(1, 2).flatten(2))


class _FeedForward(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        inner = dim * FEED_FORWARD
        # The places of the dropout layers that the file's numbering counts.
        self.net = nn.Sequential(
            _Norm(dim), nn.Linear(dim, inner), nn.GELU(), nn.Identity(), nn.Linear(inner, dim)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


def _rotary(places: int, device: torch.device) -> Tensor:
    """(places, 32) complex: the turn of each pair of numbers at each place."""
    exponents = torch.arange(0, HEAD_DIM, 2, device=device) / HEAD_DIM
    angles = torch.outer(torch.arange(places, device=device), ROTARY_BASE**-exponents)
    return torch.polar(torch.ones_like(angles), angles)


def _turn(x: Tensor, rotary: Tensor) -> Tensor:
    """Neighbouring numbers of (..., places, 64) as pairs, turned."""
    pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * rotary).flatten(-2)
