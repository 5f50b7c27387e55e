"""Names, shapes and dtypes in a .pth file, read without torch and without running what is in it.

A file of torch.save is a pickle whose tensors are calls of one rebuilding function over numbered storages.
The unpickler here knows that function, the storage types and OrderedDict; anything else in the file is
refused.
"""

import io
import lzma
import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from wanvideo.checkpoint.tensor_info import TensorInfo

MAX_PICKLE_BYTES = 16_000_000  # a list of tensors is about 0.5 MB, and takes many times that once it is read
# what a damaged or hostile pickle raises before it is refused
PICKLE_FAULTS = (
    pickle.UnpicklingError,
    ValueError,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    AssertionError,
    ImportError,
    LookupError,
    OverflowError,
    MemoryError,
    RuntimeError,  # also RecursionError, an encrypted zip, and NotImplementedError for a newer kind of zip
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
)
MOST_WRAPPERS = 4
LEGACY_LEAD = 3  # pickles before the object in a file from before torch 1.6: magic number, protocol, system

STORAGES = {
    "DoubleStorage": "F64",
    "FloatStorage": "F32",
    "HalfStorage": "F16",
    "BFloat16Storage": "BF16",
    "LongStorage": "I64",
    "IntStorage": "I32",
    "ShortStorage": "I16",
    "CharStorage": "I8",
    "ByteStorage": "U8",
    "BoolStorage": "BOOL",
    "Float8_e4m3fnStorage": "F8_E4M3",
    "Float8_e5m2Storage": "F8_E5M2",
}


def read_pickle_header(path: Path) -> dict[str, TensorInfo]:
    """Tensors by name. Raises one of PICKLE_FAULTS for what is no such file."""
    with path.open("rb") as file:
        loaded = _read_zipped(path) if file.read(2) == b"PK" else _read_legacy(path)
    return {str(name): value for name, value in unwrap(loaded).items() if isinstance(value, TensorInfo)}


def unwrap(loaded: Any) -> dict[Any, Any]:
    """The innermost of {"state_dict": {...}}; empty for what is no dict. A dict may contain itself."""
    for _ in range(MOST_WRAPPERS):
        if not (isinstance(loaded, dict) and len(loaded) == 1):
            break
        inner = next(iter(loaded.values()))
        if not isinstance(inner, dict):
            break
        loaded = inner
    return loaded if isinstance(loaded, dict) else {}


def _read_zipped(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            inside = next(item for item in archive.infolist() if item.filename.endswith("/data.pkl"))
            if inside.file_size > MAX_PICKLE_BYTES:
                raise ValueError("its list of tensors is too long")
            with archive.open(inside) as file:
                return _HeaderUnpickler(file).load()
    except StopIteration as error:
        raise ValueError("not a file of torch.save") from error


def _read_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        start = io.BytesIO(
            file.read(min(MAX_PICKLE_BYTES, path.stat().st_size))
        )  # weights come after the pickles
    for _ in range(LEGACY_LEAD):
        _HeaderUnpickler(start).load()
    return _HeaderUnpickler(start).load()


class _HeaderUnpickler(pickle._Unpickler):
    """The one written in Python: a damaged memo number makes the one in C fill gigabytes before it fails."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file, encoding="utf-8")

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        raise pickle.UnpicklingError(f"{module}.{name} is no part of a list of tensors")

    def persistent_load(self, pid: Any) -> Any:
        return pid[1]  # ("storage", type, key, location, numel): the dtype is all that is asked for


def _rebuild_tensor(dtype: str, _offset: int, shape: tuple[int, ...], *_: Any) -> TensorInfo:
    return TensorInfo.of(dtype, tuple(int(size) for size in shape))


def _rebuild_parameter(data: TensorInfo, *_: Any) -> TensorInfo:
    return data


_KNOWN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
}
