"""Files mapped into memory, also those that are larger than it, and the tensors in them."""

import mmap
import sys
from pathlib import Path

import torch
from torch import Tensor

from wanvideo.checkpoint.gguf import GgufTensor
from wanvideo.checkpoint.header import safetensors_places
from wanvideo.quantization.gguf_types import BLOCK_TYPES

_NORESERVE = 0x4000  # Linux's MAP_NORESERVE, which Python's module does not name
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
}


def map_file(path: Path) -> Tensor:
    """The bytes of a file, uint8, read when they are touched; what is written to them stays in this process.

    A mapping that may be written counts as memory on Linux, which refuses one larger than it has, but for
    those that ask for no reserve: weights are read, and hardly ever written.
    """
    if sys.platform != "linux":
        return torch.from_file(str(path), shared=False, size=path.stat().st_size, dtype=torch.uint8)
    flags, access = mmap.MAP_PRIVATE | _NORESERVE, mmap.PROT_READ | mmap.PROT_WRITE
    with path.open("rb") as file:
        return torch.frombuffer(mmap.mmap(file.fileno(), 0, flags=flags, prot=access), dtype=torch.uint8)


def map_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises KeyError for a dtype that PyTorch's files do not have."""
    content = map_file(path)
    return {name: piece_of(content, place) for name, place in safetensors_places(path).items()}


def piece_of(content: Tensor, tensor: GgufTensor) -> Tensor:
    """One tensor of a mapped file. Without a copy where it lies at a multiple of its element's size, as files
    that follow the specification have it.
    """
    info = tensor.info
    piece = content[tensor.begin : tensor.begin + info.bytes]
    if info.dtype in BLOCK_TYPES:
        rows = info.shape[0] if info.bytes % info.shape[0] == 0 else 1
        return piece.reshape(rows, -1)
    dtype = _DTYPES[info.dtype]
    return (piece.clone() if tensor.begin % dtype.itemsize else piece).view(dtype).reshape(info.shape)
