"""The weights of one block in main memory: side by side in flat buffers, each of which is one copy."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wanvideo.placement.host_buffer import HostBuffer

ALIGNMENT = 256  # bytes, of each tensor in a slot: more than any kernel asks for


@dataclass(frozen=True, slots=True)
class _Piece:
    parameter: nn.Parameter
    shape: torch.Size
    dtype: torch.dtype
    offset: int
    bytes: int

    def view(self, store: Tensor) -> Tensor:
        """This tensor's part of `store`, uint8."""
        return store[self.offset : self.offset + self.bytes].view(self.dtype).view(self.shape)


class _Flat:
    """Some tensors in one buffer. Their values are written once, and read only from then on."""

    def __init__(self, parameters: Sequence[nn.Parameter], *, pin: bool) -> None:
        self.pieces, size = [], 0
        for parameter in parameters:
            count = parameter.numel() * parameter.element_size()
            self.pieces.append(_Piece(parameter, parameter.shape, parameter.dtype, size, count))
            size += -(-count // ALIGNMENT) * ALIGNMENT
        self.buffer = HostBuffer(size, pin=pin)
        for piece in self.pieces:
            piece.view(self.buffer.tensor).copy_(piece.parameter.data)

    @property
    def size(self) -> int:
        return self.buffer.tensor.numel()


class HostBlock:
    """A block whose large tensors wait in main memory.

    The parameters stay the same objects: their data are views of the host buffers, and views of a slot on the
    card while the block computes. What is small (norms, biases, modulation, scales of rows) never travels.
    """

    def __init__(self, block: nn.Module, *, pin: bool) -> None:
        self.block = block
        self._flats: list[_Flat] = []
        self.take_in(pin=pin)

    @property
    def size(self) -> int:
        """Bytes it needs of a slot."""
        return sum(flat.size for flat in self._flats)

    @property
    def pinned(self) -> bool:
        """Whether all of it can be copied while the card computes."""
        return all(flat.buffer.pinned for flat in self._flats)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Those that wait here."""
        return (piece.parameter for flat in self._flats for piece in flat.pieces)

    def take_in(self, *, pin: bool) -> None:
        """Take what came to the block since (LoRA branches) and let go of what has left it."""
        there = {id(parameter): parameter for parameter in self.block.parameters() if travels(parameter)}
        self._flats = [
            flat for flat in self._flats if any(id(piece.parameter) in there for piece in flat.pieces)
        ]
        known = {id(parameter) for parameter in self.parameters()}
        new = [parameter for key, parameter in there.items() if key not in known]
        if new:
            self._flats.append(_Flat(new, pin=pin))
        self.point_home()

    def copy_to(self, slot: Tensor, *, non_blocking: bool) -> None:
        """Queue the copies of its tensors into `slot`, uint8."""
        for flat, part in self._parts(slot):
            part.copy_(flat.buffer.tensor, non_blocking=non_blocking)

    def point_to(self, slot: Tensor) -> None:
        """Its parameters are in `slot`."""
        for flat, part in self._parts(slot):
            for piece in flat.pieces:
                piece.parameter.data = piece.view(part)

    def point_home(self) -> None:
        """Its parameters are in main memory."""
        for flat in self._flats:
            for piece in flat.pieces:
                piece.parameter.data = piece.view(flat.buffer.tensor)

    def release(self, device: torch.device) -> None:
        """Its tensors become the device's own; the buffers go."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(device, copy=True)
        self._flats = []

    def _parts(self, slot: Tensor) -> Iterator[tuple[_Flat, Tensor]]:
        first = 0
        for flat in self._flats:
            yield flat, slot[first : first + flat.size]
            first += flat.size


def travels(parameter: nn.Parameter) -> bool:
    """Whether a tensor is worth copying for each use: matrices are, nearly all bytes are theirs.

    What changes from step to step (strengths of LoRAs, norms that a LoRA changes) thus never lies in a slot.
    """
    return parameter.ndim == 2 and min(parameter.shape) > 1
