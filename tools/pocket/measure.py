"""Measurements on pixels alone: mouths and whether they follow a sound, colours, jumps between frames."""

import torch
from torch import Tensor

from tools.pocket.palette import MOUTH

# Pixels nearer than this to the mouth colour (in [0, 1] RGB) count, the nearer the more.
_REACH = 0.30
# In [-1, 1]: pixels of a drawn clip that change less are background.
_STILL = 0.04


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


def colour_distances(video: Tensor, reference: Tensor) -> Tensor:
    """video (3, F, H, W), reference (3, H, W), both in [-1, 1] -> (F,) in [0, 1].

    How far each frame's mean colour lies from the reference's, mean over red, green and blue.
    """
    return (video.mean((-1, -2)) - reference.mean((-1, -2))[:, None]).abs().mean(0) / 2


def background_error(video: Tensor, reference: Tensor, drawn: Tensor) -> float | None:
    """Mean absolute error of background pixels in [0, 1]; videos (3, F, H, W) and (3, H, W) in [-1, 1].

    Background is what stays still in the `drawn` clip, in the upper corners: a third of the height, a sixth
    of the width. None when nothing there stays still.
    """
    height, width = reference.shape[-2:]
    still = (drawn - reference[:, None]).abs().amax((0, 1)) < _STILL
    still[height // 3 :] = False
    still[:, width // 6 : width - width // 6] = False
    if not still.any():
        return None
    return float((video - reference[:, None]).abs()[:, :, still].mean()) / 2


def frame_changes(video: Tensor) -> Tensor:
    """video (3, F, H, W) in [-1, 1] -> (F - 1,): mean absolute change in [0, 1] from frame to frame."""
    return (video[:, 1:] - video[:, :-1]).abs().mean((0, 2, 3)) / 2


def seam_jumps(video: Tensor, seams: list[int], share: float = 1.0) -> Tensor:
    """The change into each frame of `seams`, relative to the changes inside windows: to their largest.

    video (3, F, H, W); 1 or less: no larger than those. `share` below 1 takes that quantile of them in place
    of the largest. Without any motion: 0.
    """
    changes = frame_changes(video)
    at = torch.tensor(seams) - 1
    inside = torch.ones(len(changes), dtype=torch.bool)
    inside[at] = False
    return changes[at] / changes[inside].quantile(share).clamp_min(1e-6)
