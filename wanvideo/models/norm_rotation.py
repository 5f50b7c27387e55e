"""Queries and keys on their way to self-attention: normed over all heads, then rotated."""

from torch import Tensor, nn

from wanvideo.models.compiled_for_card import compiled_for_card
from wanvideo.models.rms_norm import RmsNorm, in_fp32
from wanvideo.models.rotary import Rotary


def norm_rotate(rms_norm: RmsNorm, norm: nn.RMSNorm, states: Tensor, rotary: Rotary) -> Tensor:
    """(B, rows, dim) -> (B, rows, heads, head_dim), the dtype as it was."""
    if rms_norm is in_fp32 and compiled_for_card(states):
        assert norm.eps is not None
        from wanvideo.kernels.norm_rotation import norm_rotated

        return norm_rotated(states, norm.weight, norm.eps, rotary.cos, rotary.sin)
    normed = rms_norm(norm, states).unflatten(2, (-1, 2 * rotary.cos.shape[-1]))
    wide = normed.float()
    del normed  # here is the peak of a block
    return rotary.rotate_fp32(wide).to(states.dtype)
