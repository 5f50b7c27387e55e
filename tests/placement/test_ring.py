"""The order of copies and computing on a simulated card: two engines, each does its work in line."""

import itertools
from collections import defaultdict
from dataclasses import dataclass, field

import pytest

from wanvideo.placement.ring import Ring

COPY, COMPUTE = 3.0, 5.0  # milliseconds of the simulated card
SIZES = [(1, 1), (1, 2), (2, 1), (3, 2), (5, 1), (5, 2), (5, 3), (7, 5), (4, 4), (3, 8)]


@dataclass
class FakeCard:
    """Knows when each thing happens: a lane copies one after the other, all lanes share one copy engine."""

    content: dict[int, int] = field(default_factory=dict)  # slot -> item at its last copy
    reads: dict[int, float] = field(default_factory=lambda: defaultdict(float))  # slot -> last computing ends
    copied: dict[int, float] = field(default_factory=dict)  # slot -> its last copy ends
    writes: list[tuple[int, int, int, float, float]] = field(default_factory=list)
    lanes: dict[int, float] = field(default_factory=lambda: defaultdict(float))
    engine: float = 0.0
    computing: float = 0.0
    queued: dict[int, bool] = field(default_factory=dict)  # slot -> its computing is queued whole

    def copy(self, item: int, slot: int, lane: int, /) -> None:
        assert self.queued.get(slot, True), "the slot is still being computed with"
        begin = max(self.reads[slot], self.lanes[lane], self.engine)
        self.engine = self.lanes[lane] = self.copied[slot] = begin + COPY
        self.content[slot] = item
        self.writes.append((item, slot, lane, begin, begin + COPY))

    def await_copy(self, slot: int) -> None:
        self.computing = max(self.computing, self.copied[slot])

    def computed(self, slot: int) -> None:
        self.reads[slot], self.queued[slot] = self.computing, True

    def run(self, ring: Ring, item: int, passes: int = 1) -> None:
        """A block computes, as hooks around it do."""
        for _ in range(passes):
            slot = ring.begin(item)
            self.queued[slot] = False
            assert self.content[slot] == item
            assert self.computing >= self.copied[slot], "it computes before its weights are there"
            self.computing += COMPUTE
            ring.end(item)


@pytest.mark.parametrize(("items", "slots"), SIZES)
@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize("lanes", [1, 2, 4])
def test_each_block_computes_with_its_own_weights(items: int, slots: int, lanes: int, passes: int) -> None:
    card = FakeCard()
    ring = Ring(items, slots, lanes, card)
    for _, item in itertools.product(range(4), range(items)):
        card.run(ring, item, passes)
    assert {lane for _, _, lane, _, _ in card.writes} <= set(range(lanes))
    for item, slot, _, begin, _ in card.writes[slots:]:
        others = [w for w in card.writes if w[1] == slot and w[4] <= begin]
        assert others, f"block {item} was copied over something that was never used"


@pytest.mark.parametrize(("items", "slots"), SIZES)
def test_a_block_is_copied_once_a_round_or_never_again(items: int, slots: int) -> None:
    card = FakeCard()
    ring = Ring(items, slots, 2, card)
    rounds = 5
    for _, item in itertools.product(range(rounds), range(items)):
        card.run(ring, item, passes=2)
    ahead = 0 if slots >= items else slots - 1
    once = items if slots >= items or items == 1 else rounds * items
    assert len(card.writes) == once + ahead


@pytest.mark.parametrize("slots", [2, 3])
def test_copies_hide_behind_the_computing(slots: int) -> None:
    """They are shorter, so that only the first is waited for; with one slot each is."""
    waits = {}
    for count in (1, slots):
        card = FakeCard()
        ring = Ring(6, count, 1, card)
        for _, item in itertools.product(range(3), range(6)):
            card.run(ring, item)
        waits[count] = card.computing - 18 * COMPUTE
    assert waits[slots] == pytest.approx(COPY)
    assert waits[1] == pytest.approx(18 * COPY)


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_a_round_that_was_broken_off_begins_anew(slots: int) -> None:
    card = FakeCard()
    ring = Ring(5, slots, 2, card)
    for item in (0, 1, 2):
        card.run(ring, item)
    for _, item in itertools.product(range(2), range(5)):
        card.run(ring, item)
    card.run(ring, 3)
    card.run(ring, 4)


def test_the_card_can_tell_a_wrong_order() -> None:
    """A ring that copies too far ahead would write into the slot that is being read."""
    card = FakeCard()
    ring = Ring(4, 2, 1, card)
    slot = ring.begin(0)
    card.queued[slot] = False
    with pytest.raises(AssertionError, match="still being computed"):
        card.copy(2, slot, 0)
