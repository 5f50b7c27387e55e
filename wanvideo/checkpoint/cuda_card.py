"""An NVIDIA card as `staging` sees it."""

from collections import deque
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wanvideo.placement.host_buffer import HostBuffer

if TYPE_CHECKING:
    import numpy as np


class CudaLane:
    """A stream, and page-locked memory for two pieces: one is filled while the other is copied."""

    def __init__(self, device: torch.device, size: int) -> None:
        self._stream = torch.cuda.Stream(device)
        torch.cuda.set_stream(self._stream)  # and the device, of this thread
        # An event that nobody has recorded is over.
        self._rooms = deque((HostBuffer(size, pin=True), torch.cuda.Event()) for _ in range(2))
        self._filled = self._rooms[0][0].tensor[:0]

    def room(self, size: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
        """See `Lane`."""
        memory, copied = self._rooms[0]
        copied.synchronize()
        self._filled = memory.tensor[:size]
        return self._filled.numpy()

    def send(self, target: Tensor, free: torch.cuda.Event) -> torch.cuda.Event:
        """See `Lane`."""
        self._stream.wait_event(free)
        target.copy_(self._filled, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record(self._stream)
        self._rooms.append((self._rooms.popleft()[0], copied))
        return copied

    def finish(self) -> None:
        """See `Lane`."""
        self._stream.synchronize()


class CudaCard:
    """See `Card`."""

    def __init__(self, device: torch.device) -> None:
        torch.cuda.init()  # here, not in several readers, whose current device is always the first one
        self._device = (
            device if device.index is not None else torch.device("cuda", torch.cuda.current_device())
        )

    def moment(self) -> torch.cuda.Event:
        """See `Card`."""
        event = torch.cuda.Event()
        event.record(torch.cuda.current_stream(self._device))
        return event

    def wait_for(self, moment: torch.cuda.Event) -> None:
        """See `Card`."""
        torch.cuda.current_stream(self._device).wait_event(moment)

    def empty(self, tensor: Tensor) -> Tensor:
        """See `Card`."""
        return torch.empty(tensor.shape, dtype=tensor.dtype, device=self._device)

    def small(self, tensor: Tensor) -> Tensor:
        """See `Card`."""
        return tensor.to(self._device, non_blocking=True)

    def lane(self, size: int) -> CudaLane:
        """See `Card`."""
        return CudaLane(self._device, size)
