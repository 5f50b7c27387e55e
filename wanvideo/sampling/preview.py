"""A small picture of unfinished latents, cheap enough for every step: an affine map from latent channels to
colours.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

CARD_SIZE = 128


def fit_colours(encode: Callable[[Tensor], Tensor]) -> Tensor:
    """The map (channels + 1, 3) that fits a VAE best, by least squares over a test card of soft colour
    patches.

    `encode`: video (3, 1, H, W) in [-1, 1] -> latents (channels, 1, H / 8, W / 8). Any VAE gets its own map,
    so the pocket model needs no table.
    """
    generator = torch.Generator().manual_seed(0)
    patches = torch.rand(3, 8, 8, generator=generator) * 2 - 1
    card = torch.nn.functional.interpolate(
        patches[None], (CARD_SIZE, CARD_SIZE), mode="bilinear", align_corners=False
    )
    latents = encode(card.transpose(0, 1))[:, 0].float().cpu()
    colours = torch.nn.functional.adaptive_avg_pool2d(card[0], (latents.shape[-2], latents.shape[-1]))
    fitted: Tensor = torch.linalg.lstsq(_with_bias(latents), colours.flatten(1).T).solution
    return fitted


class LatentPreview:
    """Copies each picture off the GPU without waiting and hands it out a step later, when it has arrived."""

    def __init__(self, colours: Tensor) -> None:
        self._colours = colours
        self._pending: Tensor | None = None
        self._arrived: torch.cuda.Event | None = None

    def push(self, estimate: Tensor) -> npt.NDArray[np.uint8] | None:
        """Clean latents (1, channels, frames, h, w) -> the picture (h, w, 3) of the push before.

        None at the first push, and when the GPU is still behind.
        """
        ready = self._pending if self._arrived is None or self._arrived.query() else None
        middle = estimate[0, :, estimate.shape[2] // 2]
        self._colours = self._colours.to(middle.device, non_blocking=True)
        picture = _with_bias(middle.float()) @ self._colours
        levels = ((picture.clamp(-1, 1) + 1) * 127.5).to(torch.uint8).view(*middle.shape[-2:], 3)
        self._pending = levels.to("cpu", non_blocking=True)
        if levels.is_cuda:
            self._arrived = torch.cuda.Event()
            self._arrived.record()
        return None if ready is None else ready.numpy()


def _with_bias(latents: Tensor) -> Tensor:
    """(channels, h, w) -> (h * w, channels + 1)."""
    return torch.cat([latents, torch.ones_like(latents[:1])]).flatten(1).T
