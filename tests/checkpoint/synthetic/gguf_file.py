"""GGUF files written byte by byte, version 3: magic, counts, key-values, tensor infos, aligned data.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Dimensions stand in reverse, contiguous one first.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.checkpoint.synthetic import ggml_blocks
from tests.checkpoint.synthetic.containers import floats
from tests.checkpoint.synthetic.minifloats import Array

ALIGNMENT = 32
DENSE = {"F32": 0, "F16": 1, "BF16": 30}  # GGML's numbers
_UINT32, _INT32, _FLOAT32, _STRING, _ARRAY = 4, 5, 6, 8, 9  # of a value's type


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """`shape` as in the module, the contiguous dimension last."""

    kind: str
    shape: tuple[int, ...]
    content: bytes

    @property
    def number(self) -> int:
        """GGML's number of the type."""
        return DENSE[self.kind] if self.kind in DENSE else ggml_blocks.TYPES[self.kind].number


Value = str | int | Sequence[int] | Sequence[float] | Sequence[str]


def dense(values: Array, kind: str) -> GgufTensor:
    """A tensor of F32, F16 or BF16."""
    return GgufTensor(kind=kind, shape=values.shape, content=floats(values, kind).content)


def write_gguf(path: Path, tensors: Mapping[str, GgufTensor], values: Mapping[str, Value]) -> Path:
    """`values`: key -> text, unsigned 32-bit number, or array of texts, fp32 or signed 32-bit numbers."""
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(values))
    head += b"".join(_string(key) + _value(value) for key, value in values.items())
    body = b""
    for name, tensor in tensors.items():
        dimensions = tensor.shape[::-1]
        head += _string(name) + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions)
        head += struct.pack("<IQ", tensor.number, len(body))
        body += _padded(tensor.content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_padded(head) + body)
    return path


def _value(value: Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<I", _STRING) + _string(value)
    if isinstance(value, int):
        return struct.pack("<II", _UINT32, value)
    kind = {str: _STRING, float: _FLOAT32, int: _INT32}[type(value[0])]
    head = struct.pack("<IIQ", _ARRAY, kind, len(value))
    return head + b"".join(_element(element) for element in value)


def _element(element: str | int | float) -> bytes:
    if isinstance(element, str):
        return _string(element)
    return struct.pack("<f" if isinstance(element, float) else "<i", element)


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _padded(content: bytes) -> bytes:
    return content + bytes(-len(content) % ALIGNMENT)
