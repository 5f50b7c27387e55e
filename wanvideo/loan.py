"""What a model cache and its borrowers tell each other: what is lent, how, and what tells one model from
another.
"""

from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from wanvideo.memory_plan import RESIDENT, SwapPlan

if TYPE_CHECKING:
    from torch import nn

Module = TypeVar("Module", bound="nn.Module", covariant=True)


class Tenant(Protocol[Module]):
    """One model and where its weights are (`placement.Residence`)."""

    @property
    def model(self) -> Module:
        """As it is, wherever its weights are."""

    @property
    def device_bytes(self) -> int:
        """Of its weights, on the card now."""

    @property
    def host_bytes(self) -> int:
        """Of its weights, in main memory now."""

    def retreat(self) -> None:
        """Everything goes to main memory."""

    def running(self, swap: SwapPlan) -> AbstractContextManager[Module]:
        """The model, settled as `swap` says and ready to run."""

    def settle_again(self, swap: SwapPlan) -> None:
        """Another swap, for a model that is running."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """What a model takes once it is settled: bytes of its weights on the card and in main memory, and the
    bytes on the card that it needs beside them while it works.
    """

    device_bytes: int = 0
    host_bytes: int = 0
    working_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Loan:
    """How a model is lent: what it takes, its blocks streamed as `swap` says. When it comes back it is kept,
    or dropped without `keep`; `aside`: it leaves the card at once if main memory has room for it. When
    another needs its place on the card it moves to main memory, or is dropped without `waits`: a model that
    is read as it is comes back from its file in less time.
    """

    room: Room = Room()
    swap: SwapPlan = RESIDENT
    keep: bool = True
    aside: bool = False
    waits: bool = True


@dataclass(frozen=True, slots=True)
class ModelKey:
    """What tells one cached model from another: its files with their mtimes, and `how` they were read:
    component, dtype, device, quantization. Never what the model is only dressed in: attention, swap, LoRAs.
    """

    files: tuple[tuple[Path, int], ...]
    how: tuple[Hashable, ...]

    def outdates(self, other: Hashable) -> bool:
        """Whether `other` was made from one of these files as it was before."""
        if not isinstance(other, ModelKey):
            return False
        known = dict(self.files)
        return any(known.get(file, mtime) != mtime for file, mtime in other.files)


def model_key(files: Sequence[Path], *how: Hashable) -> ModelKey:
    """The key of a model that is read from `files` as they are now."""
    return ModelKey(tuple((file, file.stat().st_mtime_ns) for file in files), how)
