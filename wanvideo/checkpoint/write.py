"""Writes a safetensors file tensor by tensor: none of them has to be kept until all are known."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor

from wanvideo.errors import UserError

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
    torch.uint8: "U8",
    torch.int8: "I8",
    torch.int64: "I64",
}
_ENTRY_BYTES = 160  # of the header for one tensor, beside its name
_ALIGNMENT = 64


class TensorWriter:
    """A file that takes tensors one after the other. The header comes first in the format, so its place is
    kept free, and what it does not need of it is filled with blanks, as the format allows.
    """

    def __init__(self, file: BinaryIO, names: Iterable[str], metadata: Mapping[str, str]) -> None:
        """`names`: all that may be written; `metadata`: texts beside the tensors."""
        self._file, self._metadata = file, dict(metadata)
        room = sum(len(json.dumps(name)) + _ENTRY_BYTES for name in names) + len(json.dumps(self._metadata))
        self._start = -(-(8 + room + _ENTRY_BYTES) // _ALIGNMENT) * _ALIGNMENT
        self._entries: dict[str, dict[str, object]] = {}
        self._end = 0
        file.seek(self._start)

    def add(self, name: str, tensor: Tensor) -> None:
        """Write one tensor, from whichever device."""
        content = tensor.detach().cpu().contiguous()
        size = content.numel() * content.element_size()
        if size:
            self._file.write(content.flatten().view(torch.uint8).numpy().data)
        self._entries[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [self._end, self._end + size],
        }
        self._end += size

    def close(self) -> None:
        """Write the header into its place."""
        header = json.dumps({"__metadata__": self._metadata, **self._entries}).encode()
        room = self._start - 8
        assert len(header) <= room
        self._file.seek(0)
        self._file.write(room.to_bytes(8, "little") + header.ljust(room))


@contextmanager
def new_file(path: Path, names: Iterable[str], metadata: Mapping[str, str]) -> Iterator[TensorWriter]:
    """A safetensors file at `path` that is there only when it is whole: until then it has another name."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as file:
            writer = TensorWriter(file, names, metadata)
            yield writer
            writer.close()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_room(folder: Path, wanted: int) -> None:
    """Raises UserError when the disk of `folder` has fewer than `wanted` bytes left."""
    free = shutil.disk_usage(folder).free
    if free < wanted:
        raise UserError(
            f"The disk of {folder} is too full",
            value=f"{free / 1e9:.1f} GB free",
            allowed=f"{wanted / 1e9:.1f} GB or more",
        )
