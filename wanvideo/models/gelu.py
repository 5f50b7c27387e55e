"""GELU in its tanh form, as Wan's feed-forward has it, for eager and for compiled blocks."""

import torch
from diffusers.models.activations import GELU
from torch import Tensor

# 0.5 (1 + tanh(u)) = sigmoid(2 u), with u = sqrt(2 / pi) (x + 0.044715 x^3): Hendrycks and Gimpel, 2016.
TWICE_ROOT = 1.5957691216057308  # 2 sqrt(2 / pi)
CUBIC = 0.044715


class TanhGelu(GELU):
    """A linear and the activation; the class of diffusers' own module, once it is built. Compiled, it is
    written with a sigmoid: a few instructions on a card, where the tanh of its library takes longer than
    reading and writing the tokens.
    """

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
