"""Files of the published sizes whose header is real and whose weights are a hole: enough for everything that
is planned, and on most file systems no more than the header on the disk.
"""

import json
import math
import shutil
from collections.abc import Iterable
from pathlib import Path

from benchmarks.random_files import DENSE, TOKENIZER, _official_shapes
from benchmarks.random_sizes import PUBLISHED_FILES, TINY_FILES, RandomFile
from wanvideo.checkpoint.keys import names_in_module
from wanvideo.checkpoint.tensor_info import BITS
from wanvideo.models.precision import keeps_fp32
from wanvideo.prepare import POCKET

DTYPES = {"torch.bfloat16": "BF16", "torch.float16": "F16", "torch.float32": "F32"}
TRANSFORMER_DTYPES = {True: "F32", False: "BF16"}


def write_headers(names: Iterable[str], folder: Path, *, quick: bool) -> dict[str, Path]:
    """Name -> its file in `folder`, with the tokenizer beside it; one that is there already is kept."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(POCKET / TOKENIZER, folder / TOKENIZER)
    files = TINY_FILES if quick else PUBLISHED_FILES
    paths = {name: files[name].path(folder, DENSE) for name in names}
    for name, path in paths.items():
        if not path.exists():
            _write(path, files[name])
    return paths


def _write(path: Path, file: RandomFile) -> None:
    shapes = _official_shapes(file)
    inside = names_in_module(file.component, shapes)
    entries, end = {}, 0
    for name, shape in shapes.items():
        own = DTYPES[str(file.dtype)]
        dtype = own if file.audio is None else TRANSFORMER_DTYPES[keeps_fp32(inside[name][0])]
        begin, end = end, end + math.prod(shape) * BITS[dtype] // 8
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}
    header = json.dumps(entries).encode()
    with path.open("wb") as target:
        target.write(len(header).to_bytes(8, "little") + header)
        target.truncate(8 + len(header) + end)
