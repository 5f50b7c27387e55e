"""Muon: momentum whose matrices are orthogonalised before they are applied (Keller Jordan, 2024).

Matrices of one shape are stacked, so a model of many small layers costs a few batched products per step.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

ITERATIONS = 5
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # quintic Newton-Schulz of the original


class Muon(torch.optim.Optimizer):
    """For matrices inside a network; embeddings, norms, biases, first and last layers belong in AdamW."""

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
        for parameter in parameters:
            by_shape[parameter.shape].append(parameter)
        groups = [{"params": same, "base_lr": lr} for same in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update; parameters without a gradient keep their place."""
        assert closure is None
        for group in self.param_groups:
            used = [p for p in group["params"] if p.grad is not None]
            if used:
                self._update(used, group)

    def _update(self, parameters: list[Tensor], group: dict[str, Any]) -> None:
        gradients = [p.grad for p in parameters if p.grad is not None]
        for parameter in parameters:
            if "momentum" not in self.state[parameter]:
                self.state[parameter]["momentum"] = torch.zeros_like(parameter)
        momenta = [self.state[p]["momentum"] for p in parameters]
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        nesterov = torch._foreach_lerp(gradients, momenta, group["momentum"])
        updates = orthogonalise(torch.stack(list(nesterov)))
        rows, columns = updates.shape[-2:]
        torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
        step = -group["lr"] * max(1.0, rows / columns) ** 0.5
        torch._foreach_add_(parameters, list(updates.to(parameters[0].dtype).unbind(0)), alpha=step)


def orthogonalise(matrices: Tensor) -> Tensor:
    """Push the singular values of (batch, rows, columns) towards 1, in bfloat16."""
    a, b, c = _COEFFICIENTS
    x: Tensor = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
