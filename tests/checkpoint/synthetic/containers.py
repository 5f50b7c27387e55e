"""safetensors files written byte by byte: 8 bytes of length (little-endian), JSON, data."""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tests.checkpoint.synthetic import minifloats
from tests.checkpoint.synthetic.minifloats import Array

_ALIGNMENT = 8
_MINI = {"BF16": "bf16", "F16": "fp16", "F8_E4M3": "e4m3", "F8_E5M2": "e5m2"}
_FULL = {"F64": "<f8", "F32": "<f4"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """One tensor as it lies in a file; `dtype` in the spelling of safetensors."""

    dtype: str
    shape: tuple[int, ...]
    content: bytes


Tensors = Mapping[str, Raw]


def floats(values: Array, dtype: str) -> Raw:
    """Values rounded once to a floating point type."""
    if dtype in _FULL:
        content = values.astype(_FULL[dtype]).tobytes()
    else:
        codes = minifloats.encode(values, _MINI[dtype])
        content = codes.astype(codes.dtype.newbyteorder("<")).tobytes()
    return Raw(dtype=dtype, shape=values.shape, content=content)


def kept(values: Array, dtype: str) -> Array:
    """What `floats` leaves of values."""
    return (
        values.astype(_FULL[dtype]).astype(np.float64)
        if dtype in _FULL
        else minifloats.rounded(values, _MINI[dtype])
    )


def codes(values: NDArray[Any], dtype: str) -> Raw:
    """Bytes (U8, I8) or the codes of an 8-bit float, as they are."""
    assert values.itemsize == 1
    return Raw(dtype=dtype, shape=values.shape, content=values.tobytes())


def text(content: bytes) -> Raw:
    """A text as a vector of bytes."""
    return Raw(dtype="U8", shape=(len(content),), content=content)


def write_safetensors(path: Path, tensors: Tensors, metadata: Mapping[str, str] | None = None) -> Path:
    """Larger types first, as the format's own writer has it, so that every tensor is aligned."""
    entries: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    end, content = 0, []
    for name in sorted(tensors, key=lambda name: (-_item_bytes(tensors[name]), name)):
        raw = tensors[name]
        entries[name] = {
            "dtype": raw.dtype,
            "shape": list(raw.shape),
            "data_offsets": [end, end + len(raw.content)],
        }
        end += len(raw.content)
        content.append(raw.content)
    header = json.dumps(entries).encode()
    header = header.ljust(-(-len(header) // _ALIGNMENT) * _ALIGNMENT)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"".join(content))
    return path


def write_shards(folder: Path, stem: str, tensors: Tensors, count: int) -> Path:
    """`count` files and their index, which is returned."""
    names = list(tensors)
    weight_map: dict[str, str] = {}
    for index in range(count):
        shard = f"{stem}-{index + 1:05d}-of-{count:05d}.safetensors"
        mine = names[index::count]
        write_safetensors(folder / shard, {name: tensors[name] for name in mine}, {"format": "pt"})
        weight_map |= dict.fromkeys(mine, shard)
    total = sum(len(raw.content) for raw in tensors.values())
    index_file = folder / f"{stem}.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}))
    return index_file


def _item_bytes(raw: Raw) -> int:
    return {"F64": 8, "F32": 4, "BF16": 2, "F16": 2}.get(raw.dtype, 1)
