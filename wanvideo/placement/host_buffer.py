"""Main memory for weights, page-locked where the system allows it.

PyTorch's own pinned allocator rounds sizes up to powers of two, which for a block of 700 MB costs a third
more; a plain allocation that is registered with CUDA takes what it needs.
"""

import logging
import weakref

import torch
from torch import Tensor

log = logging.getLogger(__name__)

PAGE = 4096  # two registered ranges must not share one


class HostBuffer:
    """`tensor`: uint8 (size,) at a page's start. `pinned`: the card can copy from it by itself."""

    def __init__(self, size: int, *, pin: bool) -> None:
        whole = -(-size // PAGE) * PAGE
        raw = torch.empty(whole + PAGE, dtype=torch.uint8)
        first = -raw.data_ptr() % PAGE
        self.tensor: Tensor = raw[first : first + size]
        self.pinned = pin and _register(self.tensor.data_ptr(), whole)
        if self.pinned:
            finalizer = weakref.finalize(self, _unregister, self.tensor.data_ptr())
            finalizer.atexit = False  # the process is going, and CUDA may be gone already


def _register(address: int, size: int) -> bool:
    """False when the system refuses: too little memory, or a limit on locked pages."""
    code = int(torch.cuda.cudart().cudaHostRegister(address, size, 0))
    if code:
        log.warning("%.0f MB of main memory can't be page-locked (CUDA error %d)", size / 1e6, code)
    return not code


def _unregister(address: int) -> None:
    torch.cuda.cudart().cudaHostUnregister(address)
