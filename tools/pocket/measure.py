"""Measurements on pixels alone: how open a mouth is, and whether it follows a sound."""

import torch
from torch import Tensor

from tools.pocket.palette import MOUTH

# Pixels nearer than this to the mouth colour (in [0, 1] RGB) count, the nearer the more.
_REACH = 0.30


def mouth_opening(video: Tensor, boxes: Tensor) -> Tensor:
    """video (batch, 3, frames, height, width) in [-1, 1], boxes (batch, 4) pixels -> (batch, frames).

    The share of the box that shows the inside of a mouth, by a soft distance to its colour.
    """
    colour = torch.tensor(MOUTH, device=video.device)[:, None, None, None]
    shares = []
    for clip, box in zip(video, boxes.round().long().tolist(), strict=True):
        left, top, right, bottom = box
        crop = clip[:, :, top : max(bottom, top + 1), left : max(right, left + 1)].float() * 0.5 + 0.5
        near = 1.0 - (crop - colour).square().sum(0).sqrt() / _REACH
        shares.append(near.clamp(0.0, 1.0).mean((-1, -2)))
    return torch.stack(shares)


def lip_sync(video: Tensor, boxes: Tensor, openness: Tensor) -> Tensor:
    """Pearson's r of the seen mouth and `openness` (batch, frames), the best of lags -1..1 -> (batch,).

    A track or a mouth that never moves correlates with nothing: 0.
    """
    seen = mouth_opening(video, boxes).to(openness.device)
    frames = seen.shape[1]
    lags = [
        correlation(
            seen[:, max(lag, 0) : frames + min(lag, 0)], openness[:, max(-lag, 0) : frames - max(lag, 0)]
        )
        for lag in (-1, 0, 1)
    ]
    return torch.stack(lags).amax(0)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    """Pearson's r along the last dimension; 0 where one side is constant."""
    a, b = first - first.mean(-1, keepdim=True), second - second.mean(-1, keepdim=True)
    scale = a.square().sum(-1).sqrt() * b.square().sum(-1).sqrt()
    return torch.where(scale > 1e-6, (a * b).sum(-1) / scale.clamp_min(1e-6), torch.zeros_like(scale))
