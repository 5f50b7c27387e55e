"""The step cache of one window: a state for each guidance branch, none of which sees another's."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from wanvideo.models.block_reuse import Reuse
from wanvideo.models.transformer import WanTransformer
from wanvideo.sampling.guidance import Branch
from wanvideo.step_cache.row import ReuseMaker, StepCachePlan, Steps
from wanvideo.step_cache.table import step_caches

PASSES = "passes"  # name of the table of `with_passes` in the state of a window


class WindowCache:
    """Made anew for each window, and when a window is begun again: nothing goes from one to the next."""

    def __init__(self, make: ReuseMaker | None = None) -> None:
        """`make`: what makes the state of a branch; None for no cache."""
        self._make = make
        self._branches: dict[Branch, Reuse] = {}
        self._step = -1

    def watch(self, steps: Iterable[int]) -> Iterator[int]:
        """The same steps; each is told to the branches as it begins."""
        for step in steps:
            self._step = step
            yield step

    def reuse(self, branch: Branch) -> Reuse | None:
        """The state of a branch for the pass that begins; None without a cache."""
        if self._make is None:
            return None
        if branch not in self._branches:
            self._branches[branch] = self._make()
        self._branches[branch].step = self._step
        return self._branches[branch]

    @property
    def passes(self) -> tuple[int, int] | None:
        """(computed, all) forward passes of the window so far; None without a cache."""
        if self._make is None:
            return None
        states = self._branches.values()
        return sum(state.computed for state in states), sum(state.passes for state in states)


def open_cache(
    plan: StepCachePlan, steps: Steps, transformer: WanTransformer, timesteps: Tensor
) -> WindowCache:
    """The cache of a window that begins; `timesteps` (total,) of the whole schedule, on its device."""
    return WindowCache(step_caches()[plan.name].opens(plan, steps, transformer, timesteps))


def with_passes(before: Tensor | None, passes: tuple[int, int] | None) -> dict[str, Tensor]:
    """For the state of a window: the table (windows so far, 2) of computed and all passes; nothing without a
    cache. `before`: that of the window before.
    """
    if passes is None:
        return {}
    row = torch.tensor([passes])
    return {PASSES: row if before is None else torch.cat([before, row])}
