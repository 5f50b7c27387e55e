"""Wan's feed-forward: a linear, GELU in its tanh form, another linear; for eager and for compiled blocks."""

import torch
from diffusers.models.activations import GELU
from diffusers.models.attention import FeedForward
from torch import Tensor, nn

from wanvideo.models.compiled_for_card import compiled_for_card
from wanvideo.models.in_one_pass import product_of_gelu
from wanvideo.quantization.linear import QLinear

# 0.5 (1 + tanh(u)) = sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel, 2016.
TWICE_ROOT = 1.5957691216057308  # 2 sqrt(2 / pi)
CUBIC = 0.044715
HALF_DTYPES = torch.bfloat16, torch.float16


class WanFeedForward(FeedForward):
    """The class of diffusers' own module, once it is built. Compiled for a card, an fp8 product takes GELU
    and the rounding to fp8 from one kernel.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., dim) -> the same shape."""
        up, _, down = self.net  # between them a dropout of 0
        if isinstance(down, QLinear) and compiled_for_card(hidden):
            product = product_of_gelu(down, gate := up.proj(hidden))
            return down(up.gelu(gate)) if product is None else product
        return down(up(hidden))


class TanhGelu(GELU):
    """A linear and the activation, the class of diffusers' own module once it is built. Compiled, GELU is
    written with a sigmoid: a few instructions on a card, where the tanh of its library takes longer than
    reading and writing the tokens. Better still, on a card a dense product applies it to its own sums.
    """

    def forward(self, hidden: Tensor) -> Tensor:
        """(..., dim) -> (..., inner_dim)."""
        if compiled_for_card(hidden) and _is_plain(self.proj):
            rows = hidden.reshape(-1, hidden.shape[-1])
            active = torch._addmm_activation(self.proj.bias, rows, self.proj.weight.t(), use_gelu=True)
            return active.view(*hidden.shape[:-1], -1)
        return self.gelu(self.proj(hidden))

    def gelu(self, gate: Tensor) -> Tensor:
        """(..., inner_dim) -> the same shape; the arithmetic is in fp32."""
        if not torch.compiler.is_compiling():
            plain: Tensor = super().gelu(gate)
            return plain
        return gelu_by_sigmoid(gate)


def gelu_by_sigmoid(gate: Tensor) -> Tensor:
    """The same function but for rounding."""
    wide = gate.float()
    return (wide * torch.sigmoid(TWICE_ROOT * (wide + CUBIC * wide**3))).to(gate.dtype)


def _is_plain(linear: nn.Linear) -> bool:
    """Nothing but a weight and a bias, which cuBLASLt's products with GELU take in 16 bits."""
    return type(linear) is nn.Linear and linear.weight.dtype in HALF_DTYPES
