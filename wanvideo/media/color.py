"""Colour correction of a long video: every frame takes the colour statistics of one reference picture."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

# sRGB -> XYZ, D65 white, 2 degree observer, with the digits of skimage.color.colorconv
_XYZ_FROM_RGB = (
    (0.412453, 0.357580, 0.180423),
    (0.212671, 0.715160, 0.072169),
    (0.019334, 0.119193, 0.950227),
)
_RGB_FROM_XYZ: list[list[float]] = np.linalg.inv(np.array(_XYZ_FROM_RGB)).tolist()
_WHITE = (0.95047, 1.0, 1.08883)
_FLAT = 1e-4  # Lab units: a smaller spread is rounding, and dividing by it would blow it up


def match_colors(frames: Tensor, reference: Tensor, strength: float) -> Tensor:
    """Give every frame (3, F, H, W) the mean and spread of `reference` (3, 1, H, W) in each Lab channel.

    Values are in [-1, 1]; strength 0 leaves the frames alone, 1 replaces them. The official InfiniteTalk code
    does the same with scikit-image; a channel that is flat takes the reference's mean.
    """
    if strength == 0:
        return frames
    mean, spread = _statistics(_lab_from_rgb(_unit(reference[:, 0])))
    corrected = [
        _correct(frame, mean, spread, strength) for frame in frames.unbind(1)
    ]  # one at a time: memory
    return torch.stack(corrected, dim=1)


def lab_statistics(frames: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of each Lab channel, (3, F) each, of frames (3, F, H, W) in
    [-1, 1].
    """
    lab = _lab_from_rgb(_unit(frames))
    return lab.mean(dim=(2, 3)), lab.std(dim=(2, 3), correction=0)


def _correct(frame: Tensor, mean: Tensor, spread: Tensor, strength: float) -> Tensor:
    rgb = _unit(frame)
    lab = _lab_from_rgb(rgb)
    own_mean, own_spread = _statistics(lab)
    gain = torch.where(own_spread > _FLAT, spread / own_spread.clamp(min=_FLAT), 0.0)
    matched = _rgb_from_lab((lab - own_mean) * gain + mean)
    blended = rgb + strength * (matched - rgb)
    return (blended * 2 - 1).to(frame.dtype)


def _unit(picture: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1], in fp64: a narrow spread that is widened takes its rounding along."""
    return (picture.double() + 1) / 2


def _statistics(lab: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation per channel, each (3, 1, 1)."""
    mean = lab.mean(dim=(1, 2), keepdim=True)
    return mean, (lab - mean).square().mean(dim=(1, 2), keepdim=True).sqrt()


def _lab_from_rgb(rgb: Tensor) -> Tensor:
    """sRGB (3, H, W) in [0, 1] -> CIE L*a*b*."""
    linear = torch.where(rgb > 0.04045, ((rgb.clamp(min=0) + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    xyz = _mix(_XYZ_FROM_RGB, linear)
    ratio = torch.stack([channel / white for channel, white in zip(xyz, _WHITE, strict=True)])
    x, y, z = torch.where(ratio > 0.008856, ratio.clamp(min=0) ** (1 / 3), 7.787 * ratio + 16 / 116)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def _rgb_from_lab(lab: Tensor) -> Tensor:
    """CIE L*a*b* (3, H, W) -> sRGB, clipped to [0, 1]; a negative z becomes 0, as in scikit-image."""
    lightness, a, b = lab
    y = (lightness + 16) / 116
    curve = torch.stack([a / 500 + y, y, (y - b / 200).clamp(min=0)])
    ratio = torch.where(curve > 0.2068966, curve**3, (curve - 16 / 116) / 7.787)
    xyz = [channel * white for channel, white in zip(ratio, _WHITE, strict=True)]
    linear = torch.stack(_mix(_RGB_FROM_XYZ, xyz))
    rgb = torch.where(linear > 0.0031308, 1.055 * linear.clamp(min=0) ** (1 / 2.4) - 0.055, linear * 12.92)
    return rgb.clamp(0, 1)


def _mix(matrix: Sequence[Sequence[float]], channels: Iterable[Tensor]) -> list[Tensor]:
    """Matrix times channels, written out: a matmul on the GPU may run in tf32, which is too coarse here."""
    first, second, third = channels
    return [first * row[0] + second * row[1] + third * row[2] for row in matrix]
