"""The norm of queries and keys over all heads: x / sqrt(mean(x^2) + eps) * weight."""

from collections.abc import Callable, Mapping
from typing import TypeAlias

from torch import Tensor, nn
from torch.nn.functional import rms_norm

RmsNorm: TypeAlias = Callable[[nn.RMSNorm, Tensor], Tensor]


def in_fp32(norm: nn.RMSNorm, states: Tensor) -> Tensor:
    """(..., dim) read as fp32, multiplied with the weight in fp32, rounded once to the dtype of `states`."""
    normed = rms_norm(states.float(), norm.normalized_shape, norm.weight.float(), norm.eps)
    return normed.to(states.dtype)


def fused(norm: nn.RMSNorm, states: Tensor) -> Tensor:
    """PyTorch's own on (..., dim) as it is: one kernel on a card, which sums in fp32."""
    return rms_norm(states, norm.normalized_shape, norm.weight, norm.eps)


# By the choices of the option rms_norm_function.
RMS_NORMS: Mapping[str, RmsNorm] = {"default": in_fp32, "pytorch": fused}
