"""The header of a GGUF file: what is told of the model, and where each tensor lies.

    "GGUF", version u32, tensors u64, entries u64
    entries: key, type u32, value                    texts are u64 length + UTF-8
    tensors: name, dimensions u32, u64 each (the fastest first), type u32, offset u64 into the data
    data: begins at the next multiple of general.alignment

Written by strangers: counts and lengths are compared with what is left of the header before anything is made
of them, and a header beyond MAX_HEADER_BYTES is refused.
"""

import math
import mmap
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from wanvideo.checkpoint.gguf_names import name_in_release
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.quantization.gguf_types import TYPE_OF_NUMBER

MAGIC = b"GGUF"
MAX_HEADER_BYTES = 32 << 20  # UMT5's vocabulary takes 6 MB
MAX_TENSORS, MAX_ENTRIES, MAX_DIMENSIONS = 1 << 15, 1 << 14, 6
MAX_NAME_BYTES, MAX_KEY_BYTES, MAX_TEXTS, MAX_ALIGNMENT = 256, 512, 1 << 20, 1 << 16
VERSIONS = (2, 3)

ALIGNMENT, ORIGINAL_SHAPE = "general.alignment", "comfy.gguf.orig_shape."
_HEAD = struct.Struct("<IQQ")  # after the magic
_TEXT, _ARRAY = 8, 9
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_INTEGERS = (0, 1, 2, 3, 4, 5, 10, 11)
Entries: TypeAlias = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """`info` has the shape of the weight itself, `begin` is the first byte in the file."""

    info: TensorInfo
    begin: int


def read_gguf_header(path: Path) -> dict[str, GgufTensor]:
    """Tensors by the names of the releases: llama.cpp's own are translated.

    Raises ValueError with what is wrong with the file.
    """
    size = path.stat().st_size
    if size < len(MAGIC) + _HEAD.size:
        raise ValueError("it ends within its header")
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), min(size, MAX_HEADER_BYTES), access=mmap.ACCESS_READ) as content,
    ):
        cursor = _Cursor(content)
        if content[: len(MAGIC)] != MAGIC:
            raise ValueError("it is no GGUF file")
        cursor.skip(len(MAGIC))
        version, tensors, entries = cursor.unpack(_HEAD)
        if version not in VERSIONS:
            raise ValueError(f"its version is {version}, 2 and 3 are known")
        if tensors > MAX_TENSORS or entries > MAX_ENTRIES:
            raise ValueError(f"its header counts {tensors} tensors and {entries} entries")
        return _read_tensors(cursor, tensors, _read_entries(cursor, entries), size)


class _Cursor:
    """A place in the mapped header that moves on with what is read."""

    def __init__(self, content: mmap.mmap) -> None:
        self._content, self.position = content, 0

    def skip(self, count: int) -> int:
        """Where the skipped bytes begin."""
        start, self.position = self.position, self.position + count
        if self.position > len(self._content):
            raise ValueError("it ends within its header")
        return start

    def unpack(self, layout: struct.Struct) -> tuple[int, ...]:
        return layout.unpack_from(self._content, self.skip(layout.size))

    def number(self, code: str) -> int:
        return self.unpack(_LAYOUTS[code])[0]

    def text(self, longest: int) -> str:
        length = self.number("Q")
        if length > longest:
            raise ValueError(f"a name in its header has {length} bytes")
        start = self.skip(length)
        return self._content[start : start + length].decode("utf-8")


_LAYOUTS = {code: struct.Struct(f"<{code}") for code in _NUMBERS.values()}


def _read_entries(cursor: _Cursor, count: int) -> Entries:
    kept: dict[str, tuple[int, ...]] = {}
    for _ in range(count):
        key, kind = cursor.text(MAX_KEY_BYTES), cursor.number("I")
        if not key.startswith((ALIGNMENT, ORIGINAL_SHAPE)):
            _skip_value(cursor, kind)
            continue
        if key in kept:
            raise ValueError(f"its header has {key} twice")
        kept[key] = _integers(cursor, key, kind)
    return kept


def _integers(cursor: _Cursor, key: str, kind: int) -> tuple[int, ...]:
    """A number, or a list of as many as a shape can have."""
    count = 1
    if kind == _ARRAY:
        kind, count = cursor.number("I"), cursor.number("Q")
    if kind not in _INTEGERS or count > MAX_DIMENSIONS:
        raise ValueError(f"the entry {key} of its header holds no size")
    return tuple(cursor.number(_NUMBERS[kind]) for _ in range(count))


def _skip_value(cursor: _Cursor, kind: int) -> None:
    count = 1
    if kind == _ARRAY:
        kind, count = cursor.number("I"), cursor.number("Q")
    if kind in _NUMBERS:
        cursor.skip(count * _LAYOUTS[_NUMBERS[kind]].size)
    elif kind != _TEXT or count > MAX_TEXTS:
        raise ValueError(f"its header has a value of type {kind} and {count} parts")
    else:
        for _ in range(count):
            cursor.skip(cursor.number("Q"))


def _read_tensors(cursor: _Cursor, count: int, entries: Entries, size: int) -> dict[str, GgufTensor]:
    found: dict[str, GgufTensor] = {}
    for _ in range(count):
        name = cursor.text(MAX_NAME_BYTES)
        tensor = _read_tensor(cursor, name, entries.get(ORIGINAL_SHAPE + name))
        name = name_in_release(name)
        if name in found:
            raise ValueError(f"its header has {name} twice")
        found[name] = tensor
    alignment = next(iter(entries.get(ALIGNMENT, (32,))), 0)
    if not 0 < alignment <= MAX_ALIGNMENT:
        raise ValueError(f"its alignment is {alignment}")
    start = -(-cursor.position // alignment) * alignment
    placed = {
        name: GgufTensor(info=tensor.info, begin=start + tensor.begin) for name, tensor in found.items()
    }
    _check_places(placed, size)
    return placed


def _read_tensor(cursor: _Cursor, name: str, original: tuple[int, ...] | None) -> GgufTensor:
    """With its offset into the data."""
    dimensions = cursor.number("I")
    if not 0 < dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"the tensor {name} has {dimensions} dimensions")
    shape = tuple(cursor.number("Q") for _ in range(dimensions))[::-1]
    number, offset = cursor.number("I"), cursor.number("Q")
    if number not in TYPE_OF_NUMBER:
        raise ValueError(f"the tensor {name} is of a type that is not known, number {number}")
    kind, numel = TYPE_OF_NUMBER[number], math.prod(shape)
    if numel == 0 or shape[-1] % kind.block:
        raise ValueError(f"the tensor {name} of {shape} can't be of type {kind.name}")
    info = TensorInfo(dtype=kind.name, shape=shape, bytes=numel // kind.block * kind.bytes)
    if original is not None:
        info = _reshaped(name, info, original)
    return GgufTensor(info=info, begin=offset)


def _reshaped(name: str, info: TensorInfo, original: tuple[int, ...]) -> TensorInfo:
    """With the shape that an entry gives: ggml has four dimensions, the patch embedding five."""
    if not original or math.prod(original) != info.numel or min(original) < 1:
        raise ValueError(f"the tensor {name} of {info.shape} can't have had the shape {original}")
    return TensorInfo(dtype=info.dtype, shape=original, bytes=info.bytes)


def _check_places(tensors: Mapping[str, GgufTensor], size: int) -> None:
    end = 0
    for name, tensor in sorted(tensors.items(), key=lambda item: item[1].begin):
        if tensor.begin < end:
            raise ValueError(f"the tensor {name} overlaps another one")
        end = tensor.begin + tensor.info.bytes
        if end > size:
            raise ValueError(f"it ends before the tensor {name}")
