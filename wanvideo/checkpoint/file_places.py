"""Where mapped tensors lie in their files, so that they can be read instead of touched.

Reading into memory that is there already is several times as fast as touching a mapping for the first time,
page by page, and more so with many threads: those wait for each other when pages are mapped.
"""

import os
import re
import sys
from bisect import bisect_right
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor

MAPS = Path("/proc/self/maps")
# first-end access offset device inode path; what may be run is no model
_FILE = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) r[w-]-\S ([0-9a-f]+) \S+ \S+ +(/.*)$", re.MULTILINE)


class Place(NamedTuple):
    """`start` is the first byte of a tensor in the file of that descriptor."""

    descriptor: int
    start: int


class _Mapping(NamedTuple):
    first: int
    end: int
    offset: int
    path: bytes


class FilePlaces:
    """Of the mappings that there were at the last look; only Linux tells, elsewhere no tensor has a place.

    For tensors as they are in their files: what this process has written to a mapping is not in the file.
    """

    def __init__(self) -> None:
        self._mappings: list[_Mapping] = []
        self._starts: list[int] = []
        self._open: dict[bytes, int] = {}

    def look(self) -> None:
        """To be called before the first `find`, and when files may have been mapped or given up since."""
        self._mappings = _file_mappings() if sys.platform == "linux" else []
        self._starts = [mapping.first for mapping in self._mappings]

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

    def _descriptor(self, path: bytes) -> int | None:
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
    return [
        _Mapping(int(first, 16), int(end, 16), int(offset, 16), path)
        for first, end, offset, path in _FILE.findall(MAPS.read_bytes())
    ]
