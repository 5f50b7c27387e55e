"""One model and where its weights are: on the card, or in main memory and streamed in as they are used."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from wanvideo.memory_plan import RESIDENT, SwapPlan
from wanvideo.placement.host_block import HostBlock
from wanvideo.placement.swap import swapping

Model = TypeVar("Model", bound=nn.Module)


class Residence(Generic[Model]):
    """A model for `device`, whose `blocks` can be swapped.

    `lookups` are embeddings whose table stays in main memory while blocks are swapped: a few rows of a large
    table are not worth its place on the card. There is one copy of every weight, wherever it is.
    """

    def __init__(
        self,
        model: Model,
        device: torch.device | str = "cpu",
        *,
        blocks: Sequence[nn.Module] = (),
        lookups: Sequence[nn.Embedding] = (),
    ) -> None:
        self.model = model
        self.device = torch.device(device)
        self._blocks, self._lookups = blocks, lookups
        self._hosted: dict[int, HostBlock] = {}
        self._pinned_bytes = 0
        self._at_work = ExitStack()  # what is put around the blocks while they run

    @property
    def device_bytes(self) -> int:
        """Of its weights, on the card at the moment."""
        return 0 if self.device.type == "cpu" else _bytes(self.model, self.device.type)

    @property
    def host_bytes(self) -> int:
        """Of its weights, in main memory at the moment."""
        return _bytes(self.model, "cpu")

    @contextmanager
    def running(self, swap: SwapPlan = RESIDENT) -> Iterator[Model]:
        """The model, ready to compute on its device with the blocks of `swap` streamed in."""
        try:
            self.settle_again(swap)
            yield self.model
        finally:
            self._at_work.close()

    def settle_again(self, swap: SwapPlan) -> None:
        """Go on with another swap, between two passes of a model that is running."""
        self._at_work.close()
        self.settle(swap)
        with ExitStack() as opened:
            if swap.blocks:
                for lookup in self._lookups:
                    opened.enter_context(_looked_up_on_host(lookup, self.device))
            first = len(self._blocks) - len(self._hosted)
            hosted = [self._hosted[index] for index in sorted(self._hosted)]
            opened.enter_context(swapping(hosted, swap, self.device, first))
            self._at_work = opened.pop_all()

    def settle(self, swap: SwapPlan = RESIDENT) -> None:
        """The last blocks of `swap` go to main memory, then all else comes to the device.

        Only what is not where it should be is moved.
        """
        first = max(0, len(self._blocks) - swap.blocks)
        self._pinned_bytes = swap.pinned_bytes if swap.asynchronous else 0
        self._host(range(first, len(self._blocks)))
        for index in [index for index in self._hosted if index < first]:
            self._hosted.pop(index).release(self.device)
        self._move_rest(self.device, keeps_lookups=swap.blocks > 0)

    def retreat(self) -> None:
        """Everything goes to main memory."""
        if self.device.type == "cpu":
            return
        self._host(range(len(self._blocks)))
        self._move_rest(torch.device("cpu"), keeps_lookups=True)

    def _host(self, wanted: range) -> None:
        """From the last block to the first, so that the card's memory shrinks before more is asked of it."""
        left = self._pinned_bytes - sum(block.size for block in self._hosted.values() if block.pinned)
        for index in reversed(wanted):
            if index in self._hosted:
                self._hosted[index].take_in(pin=self._hosted[index].pinned)
                continue
            pin = self.device.type == "cuda" and left >= _travelling(self._blocks[index])
            self._hosted[index] = HostBlock(self._blocks[index], pin=pin)
            left -= self._hosted[index].size if pin else 0

    def _move_rest(self, device: torch.device, *, keeps_lookups: bool) -> None:
        """Whatever does not wait in a host buffer."""
        staying = {id(parameter) for block in self._hosted.values() for parameter in block.parameters()}
        if keeps_lookups:
            tables = [parameter for lookup in self._lookups for parameter in lookup.parameters()]
            staying |= {id(table) for table in tables}
            _move(tables, torch.device("cpu"))
        _move([tensor for tensor in _tensors(self.model) if id(tensor) not in staying], device)


def _tensors(model: nn.Module) -> Iterator[Tensor]:
    yield from model.parameters()
    yield from model.buffers()


def _move(tensors: Sequence[Tensor], device: torch.device) -> None:
    for tensor in tensors:
        if tensor.device.type != device.type:
            tensor.data = tensor.data.to(device)


def _bytes(model: nn.Module, device_type: str) -> int:
    own = (tensor for tensor in model.parameters() if tensor.device.type == device_type)
    return sum(tensor.numel() * tensor.element_size() for tensor in own)


def _travelling(block: nn.Module) -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in block.parameters())


@contextmanager
def _looked_up_on_host(lookup: nn.Embedding, device: torch.device) -> Iterator[None]:
    """The rows come to the device, the table does not."""

    def go(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(value.cpu() if isinstance(value, Tensor) else value for value in inputs)

    def come(_: nn.Module, _ids: tuple[Any, ...], rows: Tensor) -> Tensor:
        return rows.to(device)

    before, after = lookup.register_forward_pre_hook(go), lookup.register_forward_hook(come)
    try:
        yield
    finally:
        before.remove()
        after.remove()
