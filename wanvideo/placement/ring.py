"""The order of copies and computing: which block is copied when, into which slot, over which lane.

Nothing here touches a card: `Lanes` does, so that the order can be tested against a simulated one.
"""

from typing import Protocol


class Lanes(Protocol):
    """A card as the ring sees it. Calls only queue work; none of them makes the host wait."""

    def copy(self, item: int, slot: int, lane: int, /) -> None:
        """Copy the item into the slot once all computing with that slot that was queued so far is done."""

    def await_copy(self, slot: int) -> None:
        """What is computed from here on starts after the slot's last copy."""

    def computed(self, slot: int) -> None:
        """All computing with what the slot holds is queued now."""


class Ring:
    """Items are used in turn, over and over, and pass through `slots`.

    The n-th copy brings item n modulo `items` into slot n modulo `slots`; with more slots than one, copies
    run ahead of the computing, also from the last item to the first. An item that is still in its slot is
    not copied again.
    """

    def __init__(self, items: int, slots: int, lanes: int, card: Lanes) -> None:
        self._items, self._slots, self._lanes = items, min(slots, items), lanes
        self._card = card
        self._holds: list[int | None] = [None] * self._slots
        self._now = -1  # the use that is going on, counted over all rounds
        self._copied = 0  # copies that were queued, counted likewise

    def begin(self, item: int) -> int:
        """The slot where the item is when computing gets there. Several passes may follow each other."""
        if self._now < 0 or self._now % self._items != item:
            self._go_on_to(item)
            self._copy_up_to(self._now)
            self._card.await_copy(self._now % self._slots)
            self._copy_up_to(self._now + self._slots - 1)
        return self._now % self._slots

    def end(self, item: int) -> None:
        """The pass with the item is queued."""
        assert self._now % self._items == item
        self._card.computed(self._now % self._slots)

    def _go_on_to(self, item: int) -> None:
        """A round that starts elsewhere begins anew: what was copied ahead does not count."""
        following = self._now + 1
        if following % self._items != item:
            following += (item - following) % self._items
            self._copied = following
        self._now = following

    def _copy_up_to(self, last: int) -> None:
        while self._copied <= last:
            item, slot = self._copied % self._items, self._copied % self._slots
            if self._holds[slot] != item:
                self._card.copy(item, slot, self._copied % self._lanes)
                self._holds[slot] = item
            self._copied += 1
