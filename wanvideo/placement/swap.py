"""Block swap: the last blocks of a model wait in main memory and pass through a few slots on the card."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias

import torch

from wanvideo.memory_plan import SwapPlan
from wanvideo.placement.host_block import HostBlock
from wanvideo.placement.lanes import PlainLanes, StreamLanes
from wanvideo.placement.ring import Ring
from wanvideo.placement.timing import BlockTimes

Hook: TypeAlias = Callable[..., None]


@contextmanager
def swapping(
    blocks: Sequence[HostBlock], swap: SwapPlan, device: torch.device, first: int = 0
) -> Iterator[None]:
    """While this is open, `blocks` compute on `device`, in their order, though they are in main memory.

    `first` is the number of the first of them in the model. Their `forward`, compiled or not, is not touched:
    hooks around it re-point the parameters. However it ends, the parameters are in main memory again; their
    values were never written.
    """
    if not blocks:
        yield
        return
    count = min(max(1, swap.slots), len(blocks))
    size = max(block.size for block in blocks)
    slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(count)]
    on_streams = swap.asynchronous and device.type == "cuda"
    times = BlockTimes(first, len(blocks)) if swap.timed and device.type == "cuda" else None
    lanes = StreamLanes(blocks, slots, swap.streams, times) if on_streams else PlainLanes(blocks, slots)
    ring = Ring(len(blocks), count, swap.streams if on_streams else 1, lanes)
    with ExitStack() as hooks:
        for item, block in enumerate(blocks):
            before, after = _hooks(item, block, ring, slots, times)
            hooks.callback(block.block.register_forward_pre_hook(before).remove)
            hooks.callback(block.block.register_forward_hook(after).remove)
        try:
            yield
        finally:
            lanes.close()
            for block in blocks:
                block.point_home()
    if times is not None:
        times.report()


def _hooks(
    item: int, block: HostBlock, ring: Ring, slots: Sequence[torch.Tensor], times: BlockTimes | None
) -> tuple[Hook, Hook]:
    """(before, after) a pass through the block."""

    def bring(*_: Any) -> None:
        block.point_to(slots[ring.begin(item)])

    def leave(*_: Any) -> None:
        ring.end(item)
        block.point_home()

    return (bring, leave) if times is None else _timed(item, bring, leave, times)


def _timed(item: int, bring: Hook, leave: Hook, times: BlockTimes) -> tuple[Hook, Hook]:
    begun: list[torch.cuda.Event] = []

    def before(*_: Any) -> None:
        since = times.moment()
        bring()
        begun.append(times.waited(item, since))

    def after(*_: Any) -> None:
        times.computed(item, begun.pop())
        leave()

    return before, after
