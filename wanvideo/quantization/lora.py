"""LoRA beside a linear: y += strength * (x down^T) up^T, in the dtype of the activations, never merged."""

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


class LoraSite(nn.Module):
    """A layer of `in_features` and `out_features` that LoRA branches can stand beside, by their names.

    A subclass sets the sizes, calls `_open_site` when it is made, and `add_branches` when it runs.
    """

    in_features: int
    out_features: int
    branches: nn.ModuleList

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of activations and LoRA branches."""
        return self.get_buffer("base").dtype

    def add_lora(self, name: str, down: Tensor, up: Tensor, strength: float) -> None:
        """Add strength * (x down^T) up^T beside the weight; `down` (rank, in), `up` (out, rank).

        Raises ValueError for a name that is taken and for shapes that do not fit.
        """
        if self.has_lora(name):
            raise ValueError(f"there is a LoRA {name} already")
        wanted = (self.out_features, down.shape[0]), (down.shape[0], self.in_features)
        if (up.shape, down.shape) != wanted:
            raise ValueError(f"LoRA {name}: up {tuple(up.shape)}, down {tuple(down.shape)}; wanted {wanted}")
        base = self.get_buffer("base")
        # Copies: the factors may be mapped from a file, at any address.
        own = [factor.to(base, copy=True).contiguous() for factor in (down, up)]
        self.branches.append(LoraBranch(name, own[0], own[1], strength))

    def has_lora(self, name: str) -> bool:
        """Whether there is a branch of that name."""
        return any(branch.name == name for branch in self.branches)

    def remove_lora(self, name: str) -> None:
        """Raises KeyError if there is none of that name."""
        branch = self._branch(name)
        self.branches = nn.ModuleList(other for other in self.branches if other is not branch)

    def set_lora_strength(self, name: str, strength: float) -> None:
        """Raises KeyError if there is none of that name."""
        self._branch(name).strength.data.fill_(strength)

    def add_branches(self, product: Tensor, rows: Tensor) -> None:
        """Add every branch of `rows` (M, in) to `product` (M, out) in place."""
        for branch in self.branches:
            assert isinstance(branch, LoraBranch)
            branch.add_to(product, rows)

    def _open_site(self, dtype: torch.dtype, device: torch.device) -> None:
        """`base` has the dtype and device of what will be added; casts and moves of the layer reach it."""
        self.branches = nn.ModuleList()
        self.register_buffer("base", torch.empty((), dtype=dtype, device=device), persistent=False)

    def _branch(self, name: str) -> LoraBranch:
        for branch in self.branches:
            if isinstance(branch, LoraBranch) and branch.name == name:
                return branch
        raise KeyError(name)
