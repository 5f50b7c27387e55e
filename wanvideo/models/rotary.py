"""Rotary position embeddings: three axes for video tokens, one axis that tells speakers apart."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

THETA = 10000.0


@dataclass(frozen=True, slots=True)
class Rotary:
    """cos and sin of the angle of each channel pair, fp32, shape (batch or 1, tokens, 1, head_dim / 2)."""

    cos: Tensor
    sin: Tensor

    def rotate(self, states: Tensor) -> Tensor:
        """Rotate the interleaved pairs (x0, x1), (x2, x3), ... of (batch, tokens, heads, head_dim) in
        fp32.
        """
        return self.rotate_fp32(states.float()).to(states.dtype)

    def rotate_fp32(self, states: Tensor) -> Tensor:
        """`rotate` of fp32 states, into a new tensor; there are three of that size at most."""
        pairs = states.unflatten(-1, (-1, 2))
        # Not `even * cos - odd * sin` and its partner stacked: compiled, that would write them in fp32 first.
        signs = torch.arange(-1, 2, 2, device=states.device)
        rotated = pairs * self.cos[..., None]
        rotated.addcmul_(pairs.flip(-1), self.sin[..., None] * signs)
        return rotated.flatten(-2)


def video_rotary(
    grid: tuple[int, int, int], head_dim: int, device: torch.device, riflex_index: int = 0
) -> Rotary:
    """Table for a (latent frames, rows, columns) grid of tokens, positions from 0 on every axis.

    `riflex_index` k > 0 replaces the k-th temporal frequency by 0.9 * 2 pi / frames (RIFLEx), so that a clip
    longer than the trained one does not repeat itself.
    """
    spatial = 2 * (head_dim // 6)
    dims = (head_dim - 2 * spatial, spatial, spatial)
    angles = []
    for axis, (length, dim) in enumerate(zip(grid, dims, strict=True)):
        frequencies = _frequencies(dim, torch.float64)
        if axis == 0 and riflex_index > 0:
            frequencies[riflex_index - 1] = 0.9 * 2 * math.pi / length
        table = torch.outer(torch.arange(length, dtype=torch.float64), frequencies)
        shape = [1, 1, 1, -1]
        shape[axis] = length
        angles.append(table.view(shape).expand(*grid, -1))
    joined = torch.cat(angles, dim=-1).reshape(1, math.prod(grid), 1, -1)
    return Rotary(joined.cos().float().to(device), joined.sin().float().to(device))


def line_rotary(positions: Tensor, head_dim: int) -> Rotary:
    """Table for real-valued positions on one axis: (batch, tokens) -> Rotary; angles in fp32 as the reference
    has them.
    """
    frequencies = _frequencies(head_dim, torch.float32, positions.device)
    angles = (positions.float()[..., None] * frequencies)[:, :, None]
    return Rotary(angles.cos(), angles.sin())


def _frequencies(dim: int, dtype: torch.dtype, device: torch.device | str = "cpu") -> Tensor:
    """Made where they are used: this runs in every block, and a copy from the CPU would wait for the GPU."""
    return THETA ** (-torch.arange(0, dim, 2, dtype=dtype, device=device) / dim)
