"""Keeps loaded models between jobs and lends them inside a `with`; knows nothing of what they are."""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from wanvideo.hardware import Hardware

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

WEIGHTS_SHARE = 0.75  # of the memory; the rest is for activations and for other programs
Module = TypeVar("Module", bound="nn.Module")


class ModelCache:
    """Least recently used by bytes. A key holds what changes the weights: component, files, their mtimes,
    dtype, device.
    """

    def __init__(self, budget_bytes: int | None = None) -> None:
        self._budget = budget_bytes
        self._models: OrderedDict[Hashable, nn.Module] = OrderedDict()
        self._lent: Counter[Hashable] = Counter()

    @contextmanager
    def use(
        self,
        name: str,
        key: Hashable,
        build: Callable[[], Module],
        *,
        expected_bytes: int = 0,
        keep: bool = True,
    ) -> Iterator[Module]:
        """Lend the model of `key`, building it when it is not there; it must not outlive the `with`.

        Room for `expected_bytes` is made BEFORE building, so that a large model never meets another on the
        card. Without `keep` it is dropped when it comes back.
        """
        model = self._get(name, key, build, expected_bytes)
        self._lent[key] += 1
        try:
            yield model
        finally:
            self._lent[key] -= 1
            if not keep and not self._lent[key]:
                self._models.pop(key, None)
            self._make_room(0)

    def unload(self) -> None:
        """Drop every model that is not lent at the moment."""
        for key in [key for key in self._models if not self._lent[key]]:
            del self._models[key]

    @property
    def bytes(self) -> int:
        """Bytes of parameters held."""
        return sum(_bytes(model) for model in self._models.values())

    def _get(self, name: str, key: Hashable, build: Callable[[], Module], expected_bytes: int) -> Module:
        if key in self._models:
            log.info("[CACHE] Using cached %s", name)
            self._models.move_to_end(key)
            return self._models[key]  # type: ignore[return-value]
        self._make_room(expected_bytes)
        log.info("[LOAD] Loading %s...", name)
        begun = time.perf_counter()
        model = build()
        self._make_room(_bytes(model))
        self._models[key] = model
        log.info("[CACHE] %s cached (%.1f s)", name, time.perf_counter() - begun)
        return model

    def _make_room(self, wanted: int) -> None:
        """Drop the least recently used models that are not lent until `wanted` bytes more fit in the budget.

        With nothing wanted, the last model used stays even when it alone is over the budget.
        """
        kept = 0 if wanted else 1
        while self._budget is not None and self.bytes + wanted > self._budget:
            oldest = next((key for key in self._models if not self._lent[key]), None)
            if oldest is None or len(self._models) <= kept:
                return
            del self._models[oldest]


def open_cache(machine: Hardware) -> ModelCache:
    """A cache as large as this machine can hold beside the work itself."""
    memory = machine.gpus[0].total_bytes if machine.device != "cpu" else machine.ram_bytes
    return ModelCache(int(memory * WEIGHTS_SHARE))


def _bytes(model: "nn.Module") -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
