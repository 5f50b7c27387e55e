"""What a checkpoint file holds, without reading a weight: names, shapes and dtypes of its tensors.

safetensors: 8 bytes little-endian length, then JSON {name: {dtype, shape, data_offsets}}, then the data. The
header is written by strangers, so every number in it is checked against the file before anything trusts it.
"""

import json
import math
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError

MAX_HEADER_BYTES = 100_000_000  # the bound of the safetensors library
PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
DAMAGED = "Download or copy it again"

_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    "F4": 4,
}
_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorInfo:
    """One tensor of a file; `dtype` in safetensors' spelling (F32, BF16, F8_E4M3 ...)."""

    dtype: str
    shape: tuple[int, ...]
    bytes: int

    @property
    def numel(self) -> int:
        return math.prod(self.shape)


def checkpoint_files(path: Path) -> tuple[Path, ...]:
    """The files of the checkpoint at `path`: a file, any shard or the index of a sharded one, or a folder.

    Raises UserError when something is missing or a folder leaves a choice open.
    """
    if path.is_dir():
        return _files_of_folder(path)
    if not path.is_file():
        raise UserError("This model file does not exist", value=str(path))
    if path.name.endswith(".index.json"):
        return _files_of_index(path)
    shard = _SHARD.fullmatch(path.name)
    if shard is None:
        return (path,)
    stem, _, count, suffix = shard.groups()
    names = [f"{stem}-{index:05d}-of-{count}{suffix}" for index in range(1, int(count) + 1)]
    return _present(path.parent, names)


def read_tensors(path: Path) -> dict[str, TensorInfo]:
    """Names, shapes and dtypes of one safetensors or pickle file. Raises UserError if it can't be read."""
    with path.open("rb") as file:
        start = file.read(4)
    if start == b"GGUF":
        raise UserError(f"{path.name} is a GGUF file; this format is not supported yet")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return {name: _describe(tensor) for name, tensor in read_pickle(path).items()}
    raise UserError("This is not a model file", value=path.name, allowed=(".safetensors", *PICKLE_SUFFIXES))


def read_pickle(path: Path) -> dict[str, Any]:
    """Tensors of a .pth file, mapped from the disk. Only tensors are unpickled, never code.

    Raises UserError for a damaged file and for one that holds anything else.
    """
    import torch

    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=_is_zip(path))
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UserError(f"{path.name} is damaged or holds more than tensors", fix=DAMAGED) from error
    while isinstance(loaded, dict) and len(loaded) == 1 and isinstance(next(iter(loaded.values())), dict):
        loaded = next(iter(loaded.values()))  # {"state_dict": {...}}
    tensors = (
        {name: value for name, value in loaded.items() if torch.is_tensor(value)} if _is_dict(loaded) else {}
    )
    if not tensors:
        raise UserError(f"{path.name} holds no named tensors")
    return tensors


def _read_safetensors(path: Path) -> dict[str, TensorInfo]:
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, MAX_HEADER_BYTES):
            raise UserError(f"{path.name} is not a safetensors file, or it is damaged", fix=DAMAGED)
        text = file.read(length)
    try:
        header = json.loads(text)
        entries = {name: _parse(entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"The header of {path.name} is damaged", fix=DAMAGED) from error
    _check_ranges(path, {name: span for name, (_, span) in entries.items()}, size - 8 - length)
    return {name: info for name, (info, _) in entries.items()}


def _parse(entry: Mapping[str, Any]) -> tuple[TensorInfo, tuple[int, int]]:
    begin, end = entry["data_offsets"]
    info = TensorInfo(dtype=str(entry["dtype"]), shape=tuple(entry["shape"]), bytes=end - begin)
    if not all(isinstance(number, int) and number >= 0 for number in (begin, end, *info.shape)):
        raise ValueError("negative or fractional size")
    bits = _BITS.get(info.dtype)
    if end < begin or (bits is not None and info.numel * bits != info.bytes * 8):
        raise ValueError("byte range does not fit the shape")
    return info, (begin, end)


def _check_ranges(path: Path, spans: Mapping[str, tuple[int, int]], available: int) -> None:
    previous = 0
    for name, (begin, end) in sorted(spans.items(), key=lambda item: item[1]):
        if begin < previous:
            raise UserError(
                f"The header of {path.name} is damaged: {name} overlaps another tensor", fix=DAMAGED
            )
        if end > available:
            raise UserError(f"{path.name} is incomplete: it ends before the tensor {name}", fix=DAMAGED)
        previous = end


def _files_of_folder(folder: Path) -> tuple[Path, ...]:
    indexes = sorted(folder.glob("*.safetensors.index.json"))
    if len(indexes) == 1:
        return _files_of_index(indexes[0])
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("*.bin"))
    shards = {match[1] for file in files if (match := _SHARD.fullmatch(file.name))}
    if len(files) != 1 and (len(shards) != 1 or len(indexes) > 1):
        raise UserError("This folder is not one model; choose a file in it", value=str(folder))
    return checkpoint_files(files[0])


def _files_of_index(index: Path) -> tuple[Path, ...]:
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{index.name} is not an index of model files", fix=DAMAGED) from error
    if not names or not all(isinstance(name, str) and Path(name).name == name for name in names):
        raise UserError(f"{index.name} points outside its folder")
    return _present(index.parent, names)


def _present(folder: Path, names: list[str]) -> tuple[Path, ...]:
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"The model in {folder} is incomplete, {len(missing)} file(s) missing", value=missing[0]
        )
    return tuple(folder / name for name in names)


def _describe(tensor: Any) -> TensorInfo:
    dtype = str(tensor.dtype).removeprefix("torch.")
    kind = {"float": "F", "bfloat": "BF", "int": "I", "uint": "U"}.get(dtype.rstrip("0123456789"), "")
    name = f"{kind}{tensor.element_size() * 8}" if kind else dtype.upper()
    return TensorInfo(dtype=name, shape=tuple(tensor.shape), bytes=tensor.numel() * tensor.element_size())


def _is_zip(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"PK"


def _is_dict(value: object) -> bool:
    return isinstance(value, dict)
