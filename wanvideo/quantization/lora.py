"""A LoRA beside a linear: y += strength * (x down^T) up^T, in the dtype of the activations, never merged."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear


class LoraBranch(nn.Module):
    """`down` (rank, in), `up` (out, rank); `strength` is the whole factor, alpha / rank included."""

    down: nn.Parameter
    up: nn.Parameter
    strength: nn.Parameter

    def __init__(self, name: str, down: Tensor, up: Tensor, strength: float) -> None:
        super().__init__()
        self.name = name
        self.down = nn.Parameter(down, requires_grad=False)
        self.up = nn.Parameter(up, requires_grad=False)
        # A tensor: a number that changes would make torch.compile trace again.
        self.strength = nn.Parameter(torch.tensor(strength, device=down.device), requires_grad=False)

    def add_to(self, product: Tensor, rows: Tensor) -> None:
        """Add this branch of `rows` (M, in) to `product` (M, out) in place."""
        hidden = linear(rows, self.down) * self.strength.to(rows.dtype)  # (M, rank)
        product.addmm_(hidden, self.up.t())
