"""Speech features -> the audio tokens that each latent frame attends to (InfiniteTalk's AudioProjModel)."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wanvideo.models.precision import FP32LayerNorm


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """Sizes of the audio branch; the defaults are the published InfiniteTalk model."""

    window: int = 5
    vae_scale: int = 4
    layers: int = 12
    channels: int = 768
    intermediate_dim: int = 512
    context_tokens: int = 32
    output_dim: int = 768


class AudioProjection(nn.Module):
    """One group of tokens per latent frame, from the speech around the pixel frames it stands for."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        per_frame = config.layers * config.channels
        self.proj1 = nn.Linear(config.window * per_frame, config.intermediate_dim)
        self.proj1_vf = nn.Linear((config.window + config.vae_scale - 1) * per_frame, config.intermediate_dim)
        self.proj2 = nn.Linear(config.intermediate_dim, config.intermediate_dim)
        self.proj3 = nn.Linear(config.intermediate_dim, config.context_tokens * config.output_dim)
        self.norm = FP32LayerNorm(config.output_dim)

    def forward(self, windows: Tensor) -> Tensor:
        """(batch, frames, window, layers, channels) -> (batch, latent_frames, context_tokens, output_dim).

        The first latent frame stands for one pixel frame and sees its window; every later one stands for four
        and sees the eight consecutive speech frames around them (infinitetalk: proj1 and proj1_vf).
        """
        first = torch.relu(self.proj1(windows[:, :1].flatten(2).contiguous()))  # of two speakers: a slice
        latter = torch.relu(self.proj1_vf(self._latter_windows(windows[:, 1:]).flatten(2)))
        hidden = torch.relu(self.proj2(torch.cat([first, latter], dim=1)))
        tokens = self.proj3(hidden).unflatten(-1, (self.config.context_tokens, self.config.output_dim))
        return self.norm(tokens)

    def _latter_windows(self, windows: Tensor) -> Tensor:
        groups = windows.unflatten(
            1, (-1, self.config.vae_scale)
        )  # (batch, latent, frame of group, window, layer, channel)
        middle = self.config.window // 2
        head = groups[:, :, 0, : middle + 1]
        inner = groups[:, :, 1:-1, middle]
        tail = groups[:, :, -1, middle:]
        return torch.cat([head, inner, tail], dim=2)
