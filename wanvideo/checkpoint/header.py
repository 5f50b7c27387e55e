"""What a checkpoint file holds, without reading a weight: names, shapes and dtypes of its tensors.

safetensors: 8 bytes little-endian length, then JSON {name: {dtype, shape, data_offsets}}, then the data. The
header is written by strangers, so every number in it is checked against the file before anything trusts it.
"""

import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.gguf import MAGIC, GgufTensor, read_gguf_header
from wanvideo.checkpoint.pickles import PICKLE_FAULTS, read_pickle_header
from wanvideo.checkpoint.pipeline_folder import parts_of
from wanvideo.checkpoint.refusal import RefusedCheckpoint
from wanvideo.checkpoint.tensor_info import BITS, TensorInfo
from wanvideo.errors import UserError

# A 14B model in 8 bits has 0.6 MB and 50,000 parts; Python takes up to ten times that to read it.
MAX_HEADER_BYTES, MAX_HEADER_PARTS = 4 << 20, 250_000
METADATA = "__metadata__"
MAX_TEXT_BYTES = 1 << 16
PICKLE_SUFFIXES = (".pth", ".pt", ".ckpt", ".bin")
GGUF_SUFFIX = ".gguf"
SUFFIXES = (".safetensors", GGUF_SUFFIX, *PICKLE_SUFFIXES)
DAMAGED = "Download or copy it again"

_SHARD = re.compile(r"(.+)-(\d{5})-of-(\d{5})(\.\w+)")


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
    if path.name not in names:
        raise UserError(f"{path.name} is numbered beyond the files of its model", fix="Rename it")
    return _present(path.parent, names)


def read_tensors(path: Path) -> dict[str, TensorInfo]:
    """Names, shapes and dtypes of one safetensors, GGUF or pickle file.

    Raises UserError if it can't be read.
    """
    if is_gguf(path):
        return {name: tensor.info for name, tensor in read_gguf(path).items()}
    if path.suffix.lower() == SUFFIXES[0]:
        return {name: place.info for name, place in safetensors_places(path).items()}
    if path.suffix.lower() in PICKLE_SUFFIXES:
        return _read_pickle(path)
    if path.suffix.lower() == GGUF_SUFFIX:
        raise UserError(f"{path.name} is not a GGUF file, or it is damaged", fix=DAMAGED)
    raise UserError("This is not a model file", value=path.name, allowed=SUFFIXES)


def is_gguf(path: Path) -> bool:
    """By its first bytes: some are offered under another suffix."""
    with path.open("rb") as file:
        return file.read(len(MAGIC)) == MAGIC


def _is_safetensors(path: Path) -> bool:
    return path.suffix.lower() == SUFFIXES[0] and not is_gguf(path)


def read_gguf(path: Path) -> dict[str, GgufTensor]:
    """Tensors of a GGUF file and where they lie. Raises UserError if it is damaged."""
    try:
        return read_gguf_header(path)
    except ValueError as error:
        reason = "a name is no UTF-8" if isinstance(error, UnicodeDecodeError) else error
        raise UserError(f"{path.name} is a damaged GGUF file: {reason}", fix=DAMAGED) from error


def _read_pickle(path: Path) -> dict[str, TensorInfo]:
    try:
        tensors = read_pickle_header(path)
    except (*PICKLE_FAULTS, OSError) as error:
        raise UserError(f"{path.name} is damaged or holds more than tensors", fix=DAMAGED) from error
    if not tensors:
        raise RefusedCheckpoint(f"{path.name} holds no named tensors")
    return tensors


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that the writer of a safetensors file put beside its tensors; {} for any other file."""
    if not _is_safetensors(path):
        return {}
    written = _read_header(path)[0].get(METADATA, {})
    return {key: text for key, text in written.items() if isinstance(text, str)}


def read_small_tensors(path: Path, ending: str) -> dict[str, bytes]:
    """Name -> bytes of the tensors whose names end so, in a safetensors file; {} for any other file.

    Raises UserError for one above 64 KB: those asked for are texts.
    """
    if not _is_safetensors(path):
        return {}
    header, start = _read_header(path)
    found = {}
    with path.open("rb") as file:
        for name in header:
            if name.endswith(ending):
                begin, end = header[name]["data_offsets"]
                if end - begin > MAX_TEXT_BYTES:
                    raise UserError(f"The header of {path.name} is damaged: {name} is no text", fix=DAMAGED)
                file.seek(start + begin)
                found[name] = file.read(end - begin)
    return found


def safetensors_places(path: Path) -> dict[str, GgufTensor]:
    """The tensors of a safetensors file and where they lie in it. Raises UserError if it is damaged."""
    header, start = _read_header(path)
    available = path.stat().st_size - start
    try:
        entries = {name: _parse(entry) for name, entry in header.items() if name != METADATA}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged_header(path) from error
    _check_ranges(path, {name: span for name, (_, span) in entries.items()}, available)
    return {name: GgufTensor(info=info, begin=start + begin) for name, (info, (begin, _)) in entries.items()}


def _read_header(path: Path) -> tuple[Mapping[str, Any], int]:
    """(the header as it is written, where the data begins). Its entries are still a stranger's."""
    stat = path.stat()
    return _parsed_header(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=2)  # inspecting asks for tensors, metadata and markers of the same file
def _parsed_header(path: Path, size: int, _modified: int) -> tuple[Mapping[str, Any], int]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise UserError(f"{path.name} is not a safetensors file, or it is damaged", fix=DAMAGED)
        if length > MAX_HEADER_BYTES:
            raise UserError(
                f"The header of {path.name} is too long",
                value=f"{length} bytes",
                allowed=f"{MAX_HEADER_BYTES} at most",
            )
        text = file.read(length)
    if sum(map(text.count, (b",", b"[", b"{"))) > MAX_HEADER_PARTS:
        raise _damaged_header(path)
    try:
        header = json.loads(text, object_pairs_hook=_unique)
        if not isinstance(header, dict) or not isinstance(header.get(METADATA, {}), dict):
            raise ValueError("no object")
        "".join(header).encode()  # half a surrogate pair could not be shown
    except (ValueError, RecursionError) as error:
        raise _damaged_header(path) from error
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice")
    return found


def _damaged_header(path: Path) -> UserError:
    return UserError(f"The header of {path.name} is damaged", fix=DAMAGED)


def _parse(entry: Mapping[str, Any]) -> tuple[TensorInfo, tuple[int, int]]:
    begin, end = entry["data_offsets"]
    info = TensorInfo(dtype=str(entry["dtype"]), shape=tuple(entry["shape"]), bytes=end - begin)
    for number in (begin, end, *info.shape):
        if not isinstance(number, int) or number < 0:
            raise ValueError("negative or fractional size")
    bits = BITS.get(info.dtype)
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
    parts = parts_of(folder)
    if parts:
        raise UserError(f"{folder.name} holds a whole model in parts; choose one of them", allowed=parts)
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
