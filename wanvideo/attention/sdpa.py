"""Exact attention through torch: the backend every other one falls back to, on any device."""

from typing import TYPE_CHECKING

from wanvideo.hardware import Hardware
from wanvideo.registry import AttentionBackend, AttentionFunction

if TYPE_CHECKING:
    from torch import Tensor


def attend(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
    """softmax(q k^T / sqrt(head_dim)) v over (batch, tokens, heads, head_dim)."""
    from torch.nn.functional import scaled_dot_product_attention

    attended = scaled_dot_product_attention(query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2))
    return attended.transpose(1, 2)


def _unavailable_reason(hardware: Hardware) -> str | None:  # noqa: ARG001 - runs everywhere
    return None


def _load() -> AttentionFunction:
    return attend


BACKEND = AttentionBackend(
    name="sdpa",
    label="Exact (PyTorch SDPA)",
    priority=0,
    fallback=None,
    unavailable_reason=_unavailable_reason,
    load=_load,
)
