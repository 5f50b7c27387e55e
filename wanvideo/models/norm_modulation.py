"""Tokens on their way into self-attention: normed, then scaled and shifted by the timestep."""

from torch import Tensor, nn

from wanvideo.models.compiled_for_card import compiled_for_card


def norm_modulate(norm: nn.LayerNorm, rows: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """norm(rows) * (1 + scale) + shift in fp32, rounded once: rows (B, N, dim), `norm` without weights, scale
    and shift (B or 1, 1, dim) in fp32 -> the shape and dtype of `rows`.
    """
    if compiled_for_card(rows):
        from wanvideo.kernels.norm_modulation import norm_modulated

        return norm_modulated(rows, scale, shift, norm.eps)
    modulated: Tensor = norm(rows.float()) * (1 + scale) + shift
    return modulated.type_as(rows)
