"""Keeps loaded models between jobs and lends them inside a `with`; knows nothing of what they are."""

import logging
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from torch import nn

log = logging.getLogger(__name__)

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
    def use(self, name: str, key: Hashable, build: Callable[[], Module]) -> Iterator[Module]:
        """Lend the model of `key`, building it when it is not there; the model must not outlive the
        `with`.
        """
        model = self._get(name, key, build)
        self._lent[key] += 1
        try:
            yield model
        finally:
            self._lent[key] -= 1
            self._make_room()

    def unload(self) -> None:
        """Drop every model that is not lent at the moment."""
        for key in [key for key in self._models if not self._lent[key]]:
            del self._models[key]

    @property
    def bytes(self) -> int:
        """Bytes of parameters held."""
        return sum(_bytes(model) for model in self._models.values())

    def _get(self, name: str, key: Hashable, build: Callable[[], Module]) -> Module:
        if key in self._models:
            log.info("[CACHE] Using cached %s", name)
            self._models.move_to_end(key)
            return self._models[key]  # type: ignore[return-value]
        log.info("[LOAD] Loading %s...", name)
        begun = time.perf_counter()
        model = build()
        self._models[key] = model
        log.info("[CACHE] %s cached (%.1f s)", name, time.perf_counter() - begun)
        return model

    def _make_room(self) -> None:
        while self._budget is not None and self.bytes > self._budget:
            oldest = next((key for key in self._models if not self._lent[key]), None)
            if oldest is None or len(self._models) == 1:
                return
            del self._models[oldest]


def _bytes(model: "nn.Module") -> int:
    return sum(parameter.numel() * parameter.element_size() for parameter in model.parameters())
