"""Blocks that are left out where a pass keeps what they added in an earlier step."""

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor, nn

Run = Callable[[nn.Module, int, Tensor], Tensor]


class Reuse(Protocol):
    """What one guidance branch keeps from step to step. Tokens are (1, tokens, dim).

    In every pass `enter` is told the tokens before the first block, `computes` those after `lead` blocks: it
    says whether the rest runs. `leave` turns the tokens after that, or those after the `lead`, into the last
    block's. `step` is the step of the schedule; `computed` of the `passes` so far ran all blocks.
    """

    lead: int
    step: int
    passes: int
    computed: int

    def enter(self, x: Tensor) -> None: ...

    def computes(self, x: Tensor) -> bool: ...

    def leave(self, x: Tensor) -> Tensor: ...


def through_blocks(
    blocks: Sequence[nn.Module], states: list[Tensor], reuses: Sequence[Reuse | None], run: Run
) -> None:
    """Every pass's tokens, in place of those in `states`: all of them through one block before the next, so
    that no block is asked for that no pass needs. `run(block, index of the pass, tokens)` is one of them.
    """
    going = []
    for index, reuse in enumerate(reuses):
        if reuse is None or _goes_on(blocks[: reuse.lead], states, index, reuse, run):
            going.append(index)
    for place, block in enumerate(blocks):
        for index in going:
            reuse = reuses[index]
            if reuse is None or place >= reuse.lead:
                states[index] = run(block, index, states[index])
    for index, reuse in enumerate(reuses):
        if reuse is not None:
            states[index] = reuse.leave(states[index])


def _goes_on(lead: Sequence[nn.Module], states: list[Tensor], index: int, reuse: Reuse, run: Run) -> bool:
    reuse.enter(states[index])
    for block in lead:
        states[index] = run(block, index, states[index])
    return reuse.computes(states[index])
