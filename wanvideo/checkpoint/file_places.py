"""Where mapped tensors lie in their files, so that they can be read instead of touched.

Reading into memory that is there already is several times as fast as touching a mapping for the first time,
page by page, and more so with many threads: those wait for each other when pages are mapped.
"""

import os
import sys
from bisect import bisect_right
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

MAPS = Path("/proc/self/maps")


class Place(NamedTuple):
    """`start` is the first byte of a tensor in the file of that descriptor."""

    descriptor: int
    start: int


class _Mapping(NamedTuple):
    first: int
    end: int
    offset: int
    path: str


class FilePlaces:
    """Of the mappings that there are now; only Linux tells, elsewhere no tensor has a place.

    For tensors as they are in their files: what this process has written to a mapping is not in the file.
    """

    def __init__(self) -> None:
        self._mappings = _file_mappings() if sys.platform == "linux" else []
        self._starts = [mapping.first for mapping in self._mappings]
        self._open: dict[str, int] = {}

    def find(self, tensor: Tensor) -> Place | None:
        """None for a tensor that is not in a mapped file, or whose file is gone."""
        first, size = tensor.data_ptr(), tensor.numel() * tensor.element_size()
        index = bisect_right(self._starts, first) - 1
        if index < 0 or first + size > self._mappings[index].end:
            return None
        mapping = self._mappings[index]
        descriptor = self._descriptor(mapping.path)
        return None if descriptor is None else Place(descriptor, mapping.offset + first - mapping.first)

    def close(self) -> None:
        """Places are of no use any more."""
        for descriptor in self._open.values():
            os.close(descriptor)
        self._open.clear()

    def _descriptor(self, path: str) -> int | None:
        if path not in self._open:
            try:
                self._open[path] = os.open(path, os.O_RDONLY)
            except OSError:  # deleted since, or no file at all: its pages are still there
                return None
        return self._open[path]


def read_into(place: Place, skip: int, memory: Any) -> None:
    """Fill `memory` (a buffer of bytes) with what is `skip` bytes behind the place. Raises OSError for a file
    that got shorter.
    """
    view, done = memoryview(memory), 0
    while done < len(view):
        count = os.preadv(place.descriptor, [view[done:]], place.start + skip + done)
        if not count:
            raise OSError("a model file got shorter while it was read")
        done += count


def _file_mappings() -> list[_Mapping]:
    """In the order of their addresses."""
    found = []
    for line in MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines():
        parts = line.split(maxsplit=5)
        if len(parts) == 6 and parts[5].startswith("/"):
            first, end = (int(number, 16) for number in parts[0].split("-"))
            found.append(_Mapping(first, end, int(parts[2], 16), parts[5]))
    return found
