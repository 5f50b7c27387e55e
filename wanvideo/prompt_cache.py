"""Prompts that were encoded before, kept on disk: for those the text encoder is not even loaded."""

import hashlib
import json
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import torch
import transformers
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from wanvideo.cache_folder import cache_folder
from wanvideo.models import text_encoder
from wanvideo.models.text_encoder import clean_prompt

log = logging.getLogger(__name__)

FOLDER = "prompts"
MOST_BYTES = 200_000_000  # of the folder; a prompt of 100 words takes about 1 MB
_ROWS, _DIGEST = "rows", "sha256"

Encode: TypeAlias = Callable[[list[str]], dict[str, Tensor]]


def prompt_key(files: Iterable[Path], *how: Hashable) -> str:
    """What tells one encoding of a prompt from another: the `files` of encoder and tokenizer as they are now,
    `how` it runs (dtype, device), and the code that does it.
    """
    stats = [(str(file.resolve()), file.stat()) for file in files]
    told = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    code = _hash(Path(text_encoder.__file__).read_bytes())
    return "\n".join([*told, *map(str, how), code, torch.__version__, transformers.__version__])


def cached_prompts(prompts: Sequence[str], key: str, encode: Encode) -> dict[str, Tensor]:
    """Prompt -> (rows, dim) on the CPU, bit by bit as it was encoded under `key` (`prompt_key`).

    `encode` is called once, with those that are not on disk, or not at all.
    """
    paths = {prompt: _path(prompt, key) for prompt in prompts}
    found = {prompt: rows for prompt, path in paths.items() if (rows := _read(path)) is not None}
    missing = [prompt for prompt in paths if prompt not in found]
    if not missing:
        log.info("[CACHE] Using cached prompts")
        return found
    for prompt, rows in encode(missing).items():
        found[prompt] = rows.cpu()
        _write(paths[prompt], found[prompt])
    _remove_oldest()
    return {prompt: found[prompt] for prompt in paths}


def _path(prompt: str, key: str) -> Path:
    """Only a hash of the prompt is in its name, and nothing of it in the file."""
    told = json.dumps([key, clean_prompt(prompt)])
    return cache_folder(FOLDER) / f"{_hash(told.encode())[:32]}.safetensors"


def _read(path: Path) -> Tensor | None:
    """None when it is not there, or not whole."""
    try:
        tensors = load(path.read_bytes())
        rows, digest = tensors[_ROWS], tensors[_DIGEST]
        if not torch.equal(digest, _digest(rows)):
            raise ValueError("its content has changed")
        os.utime(path)
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        log.warning("The kept prompt %s can't be read and is encoded again: %s", path.name, error)
        return None
    return rows


def _write(path: Path, rows: Tensor) -> None:
    """What is not finite is a fault that passes; kept, it would stay. A folder that can't be written to costs
    the time of the next encoding, no more.
    """
    if not rows.isfinite().all():
        log.warning("A prompt was encoded to NaN or infinity and is not kept")
        return
    half = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(save({_ROWS: rows.contiguous(), _DIGEST: _digest(rows)}))
        half.replace(path)
    except OSError as error:
        log.warning("An encoded prompt can't be kept in %s: %s", path.parent, error)


def _remove_oldest() -> None:
    """The prompts used longest ago, until the folder is within its bytes; half-written ones count, too."""
    try:
        files = [(file.stat(), file) for file in cache_folder(FOLDER).glob("*")]
        total = sum(stat.st_size for stat, _ in files)
        for stat, file in sorted(files, key=lambda pair: pair[0].st_mtime_ns):
            if total <= MOST_BYTES:
                return
            file.unlink(missing_ok=True)
            total -= stat.st_size
    except OSError as error:
        log.warning("Old prompts can't be removed: %s", error)


def _digest(rows: Tensor) -> Tensor:
    """(32,) uint8: of shape, dtype and values."""
    about = f"{tuple(rows.shape)} {rows.dtype}".encode()
    content = rows.contiguous().flatten().view(torch.uint8).numpy().tobytes()
    return torch.frombuffer(bytearray(hashlib.sha256(about + content).digest()), dtype=torch.uint8)


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
