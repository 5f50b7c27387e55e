"""Keeps loaded models between jobs and lends them inside a `with`; knows nothing of what they are.

A model that is not at work gives way to the one that will be: it moves from the card to main memory, and out
of main memory altogether, the one that was not used for longest first.
"""

import gc
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from wanvideo.hardware import Hardware
from wanvideo.loan import Loan, ModelKey, Module, Room, Tenant
from wanvideo.memory_plan import RESIDENT, SwapPlan

log = logging.getLogger(__name__)

WEIGHTS_SHARE = 0.75  # of a card, for jobs that bring no budget of their own; the rest is for activations
HOST_SHARE = (
    5 / 8
)  # of main memory: a 14B transformer in 8 bits (17 GB) in 32 GB, UMT5 (11 GB) beside it in 64
HOST_LEFT = 4 << 30  # bytes of what is free of it now that stay so: a full 16 GB machine must not swap
LEAST_HOST_SHARE = 1 / 8  # of main memory, however full it is: small models are not loaded again and again
_ALL_OF_IT = Room(working_bytes=sys.maxsize)


@dataclass(frozen=True, slots=True, kw_only=True)
class CachedModel:
    """A line of `ModelCache.contents`."""

    name: str
    device_bytes: int
    host_bytes: int
    lent: bool


@dataclass(slots=True, kw_only=True)
class _Entry:
    """A model in the cache. While it is lent: settled by `swap`, to one `thread`, `borrowers` deep. It is not
    kept when it is `outdated`.
    """

    name: str
    key: Hashable
    tenant: Tenant[Any]
    swap: SwapPlan = RESIDENT
    thread: int = 0
    borrowers: int = 0
    outdated: bool = False
    waits: bool = True


class ModelCache:
    """Least recently used by bytes: of the card, and of main memory. A budget of None is no limit."""

    def __init__(self, device_budget: int | None = None, host_budget: int | None = None) -> None:
        self.device_budget, self.host_budget = device_budget, host_budget
        self._entries: dict[Hashable, _Entry] = {}  # the one used last stands last
        self.builds = 0  # models that were made, for those who ask whether anything had to be loaded
        self._lock = threading.RLock()
        self._dropped, self._left_card = False, False  # something did, and its memory was not given back yet

    @contextmanager
    def use(
        self,
        name: str,
        key: Hashable,
        build: Callable[[], Tenant[Module]],
        loan: Loan,
        *,
        dress: Callable[[Module], None] | None = None,
    ) -> Iterator[Module]:
        """Lend the model of `key`, built when it is not there; for another swap nothing is loaded. It must
        not outlive the `with`.

        Room is made BEFORE building and settling, so that a large model never meets another on the card.
        `dress` changes the model for this use before it is settled. The thread that has the model may borrow
        it again, as it is; raises RuntimeError for another thread, ValueError for another swap.
        """
        with ExitStack() as lent:
            with self._lock:
                entry = self._borrow(name, key, build, loan.room)
                lent.push(lambda fault, *_: self._take_back(entry, loan, failed=fault is not None))
                if entry.borrowers == 1:
                    self._start(entry, loan, dress, lent)
                elif entry.swap != loan.swap:
                    raise ValueError(f"{name} is at work already, with another swap")
            yield entry.tenant.model

    def settle_again(self, key: Hashable, swap: SwapPlan) -> None:
        """The model of `key`, which is lent, goes on with another swap."""
        with self._lock:
            entry = self._entries[key]
            entry.tenant.settle_again(swap)
            entry.swap = swap
            self._clear_host(key, _taken(entry.tenant))

    def limit(self, device_bytes: int | None) -> None:
        """What may be taken of the card from here on; None is no limit."""
        self.device_budget = device_bytes

    def clear_card(self) -> None:
        """Every model that is not lent moves to main memory, or out of the cache where that is full."""
        with self._lock:
            self._make_room(None, _ALL_OF_IT)
            self._give_back_memory()

    def unload(self) -> None:
        """Drop every model that is not lent at the moment, and give their memory back."""
        with self._lock:
            self._drop_all(self._idle())
            self._give_back_memory()

    def contents(self) -> tuple[CachedModel, ...]:
        """What is there, the one used last at the end."""
        with self._lock:
            return tuple(
                CachedModel(
                    name=entry.name,
                    device_bytes=entry.tenant.device_bytes,
                    host_bytes=entry.tenant.host_bytes,
                    lent=entry.borrowers > 0,
                )
                for entry in self._entries.values()
            )

    @property
    def bytes(self) -> int:
        """Bytes of weights held, wherever they are."""
        return sum(model.device_bytes + model.host_bytes for model in self.contents())

    def _borrow(self, name: str, key: Hashable, build: Callable[[], Tenant[Any]], room: Room) -> _Entry:
        """The entry of `key` with one borrower more; built, or with room made to settle it anew."""
        entry, thread = self._entries.get(key), threading.get_ident()
        if entry is not None and entry.borrowers and entry.thread != thread:
            raise RuntimeError(f"{name} is at work in another thread")
        if entry is None or not entry.borrowers:
            self._drop_outdated(key)
            self._make_room(key, room)
            self._give_back_memory()
        if entry is None:
            log.info("[LOAD] Loading %s...", name)
            begun = time.perf_counter()
            self.builds += 1
            entry = _Entry(name=name, key=key, tenant=build())
            log.info("[CACHE] %s cached (%.1f s)", name, time.perf_counter() - begun)
        else:
            log.info("[CACHE] Using cached %s", name)
        self._entries.pop(key, None)
        self._entries[key] = entry
        entry.thread, entry.borrowers = thread, entry.borrowers + 1
        return entry

    def _start(self, entry: _Entry, loan: Loan, dress: Callable[[Any], None] | None, lent: ExitStack) -> None:
        """Until `lent` is closed its model runs; what it really takes is known only now."""
        if dress is not None:
            dress(entry.tenant.model)
        lent.enter_context(entry.tenant.running(loan.swap))
        entry.swap, entry.waits = loan.swap, loan.waits
        self._make_room(entry.key, _taken(entry.tenant, loan.room.working_bytes))
        self._give_back_memory()

    def _take_back(self, entry: _Entry, loan: Loan, *, failed: bool) -> None:
        """The memory of what is dropped here is given back at the next use: the borrower's own variables
        hold the model until then. After a fault nothing is asked of the card.
        """
        with self._lock:
            entry.borrowers -= 1
            if entry.borrowers:
                return
            if entry.outdated or not loan.keep:
                self._drop(entry)
            elif loan.aside and not failed and entry.tenant.device_bytes:
                self._step_aside(entry)
            self._clear_host(entry.key, _taken(entry.tenant))

    def _step_aside(self, entry: _Entry) -> None:
        way = self._way_to_host(entry, entry.key, Room())
        if way is None:
            log.info("[CACHE] %s stays on the card, main memory has no room for it", entry.name)
            return
        self._move_to_host(entry, way)
        self._give_back_memory()

    def _make_room(self, key: Hashable, room: Room) -> None:
        """Until `room` is free beside all but the model of `key`, or nothing is left that could give way."""
        for entry in self._idle():
            if entry.key != key and entry.tenant.device_bytes and self._card_excess(key, room) > 0:
                self._leave_card(entry, key, room)
        self._clear_host(key, room)

    def _leave_card(self, entry: _Entry, key: Hashable, room: Room) -> None:
        """To main memory if it can be, beside `room` for the model of `key`; else out of the cache."""
        way = self._way_to_host(entry, key, room) if entry.waits else None
        if way is None:
            self._drop(entry)
        else:
            self._move_to_host(entry, way)

    def _clear_host(self, key: Hashable, room: Room) -> None:
        """Only for a model that needs some of it: swapped blocks may be over the budget alone, and a VAE on
        the card is no reason to load them again.
        """
        for entry in self._idle() if room.host_bytes else ():
            if entry.key != key and entry.tenant.host_bytes and self._host_excess(key, room) > 0:
                self._drop(entry)

    def _way_to_host(self, entry: _Entry, key: Hashable, room: Room) -> list[_Entry] | None:
        """Models that were not used for longer and wait in main memory: those that must go, so that this one
        can come from the card. None when all of them are not enough.
        """
        older = itertools.takewhile(lambda other: other is not entry, self._idle())
        waiting = [other for other in older if other.key != key and not other.tenant.device_bytes]
        excess = self._host_excess(key, room) + entry.tenant.device_bytes
        freed = itertools.accumulate((other.tenant.host_bytes for other in waiting), initial=0)
        count = next((count for count, size in enumerate(freed) if size >= excess), None)
        return None if count is None else waiting[:count]

    def _move_to_host(self, entry: _Entry, way: Sequence[_Entry]) -> None:
        self._drop_all(way)
        size = entry.tenant.device_bytes
        log.info("[CACHE] %s moves to main memory (%.1f GB)", entry.name, size / 1e9)
        self._left_card = True
        try:
            entry.tenant.retreat()
        except BaseException:
            self._drop(entry)  # half of it here and half of it there is no use
            raise

    def _card_excess(self, key: Hashable, room: Room) -> int:
        """Bytes over the card's budget when the model of `key` takes `room`."""
        held = sum(entry.tenant.device_bytes for entry in self._entries.values() if entry.key != key)
        return held + room.device_bytes + room.working_bytes - _limit(self.device_budget)

    def _host_excess(self, key: Hashable, room: Room) -> int:
        """Bytes over the budget of main memory, where that model still is before it is settled."""
        held = sum(entry.tenant.host_bytes for entry in self._entries.values() if entry.key != key)
        there = self._entries[key].tenant.host_bytes if key in self._entries else 0
        return held + max(room.host_bytes, there) - _limit(self.host_budget)

    def _idle(self) -> list[_Entry]:
        return [entry for entry in self._entries.values() if not entry.borrowers]

    def _drop_outdated(self, key: Hashable) -> None:
        """Models of files that have changed since; those that are lent go when they come back."""
        for entry in list(self._entries.values()):
            if isinstance(key, ModelKey) and key.outdates(entry.key):
                entry.outdated = True
        self._drop_all([entry for entry in self._idle() if entry.outdated])

    def _drop_all(self, entries: Sequence[_Entry]) -> None:
        for entry in entries:
            self._drop(entry)

    def _drop(self, entry: _Entry) -> None:
        del self._entries[entry.key]
        self._dropped = True
        self._left_card = self._left_card or entry.tenant.device_bytes > 0
        log.info("[CACHE] %s unloaded", entry.name)

    def _give_back_memory(self) -> None:
        """Once after a round of evictions; no variable may hold an entry that was dropped."""
        if self._dropped:
            gc.collect()
        if self._left_card:
            import torch

            torch.cuda.empty_cache()
        self._dropped = self._left_card = False


def open_cache(machine: Hardware) -> ModelCache:
    """A cache as large as this machine can hold beside the work itself and other programs."""
    card = int(machine.gpus[0].total_bytes * WEIGHTS_SHARE) if machine.device != "cpu" else None
    free = max(machine.free_ram_bytes - HOST_LEFT, int(machine.ram_bytes * LEAST_HOST_SHARE))
    return ModelCache(card, min(int(machine.ram_bytes * HOST_SHARE), free))


def _limit(budget: int | None) -> int:
    return sys.maxsize if budget is None else budget


def _taken(tenant: Tenant[Any], working_bytes: int = 0) -> Room:
    return Room(device_bytes=tenant.device_bytes, host_bytes=tenant.host_bytes, working_bytes=working_bytes)
