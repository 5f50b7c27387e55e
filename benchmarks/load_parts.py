"""What of a load's time is reading, what copying, and what remains when nothing is carried at all."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from wanvideo.checkpoint import staging
from wanvideo.checkpoint.staging import Bytes, Card, Lane

PARTS = {"read, not copied": True, "neither read nor copied": False}  # name -> whether it reads


class PartLane:
    """A lane that copies nothing, and reads what it would copy or not even that."""

    def __init__(self, lane: Lane, *, reads: bool) -> None:
        self._lane, self._reads = lane, reads

    def room(self, size: int) -> Bytes:
        """See `Lane`; without reading there is none, and nothing to fill."""
        return self._lane.room(size if self._reads else 0)

    def send(self, target: Tensor, free: Any) -> Any:
        """The moment at which nothing has arrived."""
        self._lane.room(0)
        return self._lane.send(target[:0], free)

    def finish(self) -> None:
        """See `Lane`."""
        self._lane.finish()


class PartCard:
    """A card with such lanes."""

    def __init__(self, card: Card, *, reads: bool) -> None:
        self._card, self._reads = card, reads

    def __getattr__(self, name: str) -> Any:
        """All else is the card's own."""
        return getattr(self._card, name)

    def lane(self, size: int) -> PartLane:
        """See `Card`."""
        return PartLane(self._card.lane(size), reads=self._reads)


@contextmanager
def carrying(*, reads: bool) -> Iterator[None]:
    """While this is open, what is loaded holds nothing of its files: for timing alone."""
    whole: Callable[[torch.device], Card | None] = staging.card_of

    def card_of(place: torch.device) -> Any:
        card = whole(place)
        return None if card is None else PartCard(card, reads=reads)

    with patch.object(staging, "card_of", card_of):
        yield


def only_part(name: str, load: Callable[..., Any]) -> Callable[..., Any]:
    """`load` with that part of `PARTS` alone."""

    def loaded(*given: Any) -> Any:
        with carrying(reads=PARTS[name]):
            return load(*given)

    return loaded
