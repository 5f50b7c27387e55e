"""Which parts of the transformer stay in fp32 whatever the compute dtype, as the official code has it.

Guidance multiplies the rounding of the time embedding and of the output projection, and norms and modulation
set the gain of every token, while all of them together are under one per cent of the bytes.
"""

import re

from torch import Tensor, nn

_FP32_NAMES = re.compile(
    r"^condition_embedder\."
    r"|^proj_out\."
    r"|(^|\.)scale_shift_table$"
    r"|^audio_proj\.norm\."
    r"|^blocks\.\d+\.(norm2|norm_x)\."
)


def keeps_fp32(name: str) -> bool:
    """Whether the transformer parameter of this (module) name is held and used in fp32."""
    return _FP32_NAMES.search(name) is not None


class FP32LayerNorm(nn.LayerNorm):
    """Layer norm computed in fp32 and returned in the input's dtype."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.float()
        bias = None if self.bias is None else self.bias.float()
        normed = nn.functional.layer_norm(
            hidden_states.float(), self.normalized_shape, weight, bias, self.eps
        )
        return normed.to(hidden_states.dtype)
