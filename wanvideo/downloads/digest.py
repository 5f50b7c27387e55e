"""Hashes of large files, with signs of life, and what the hub once recorded about them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wanvideo.cache_folder import cache_folder

CHUNK = 1 << 22


def sha256_of(path: Path, tell: Callable[[int], None]) -> str:
    """Hex digest; `tell` gets the bytes read so far and may raise Cancelled. Raises OSError."""
    return _digest(path, hashlib.sha256(), tell)


def git_sha1_of(path: Path, tell: Callable[[int], None]) -> str:
    """The name that git gives to a blob: SHA-1 over "blob", the size, a zero byte, the data."""
    head = b"blob %d\0" % path.stat().st_size
    return _digest(path, hashlib.sha1(head, usedforsecurity=False), tell)


def _digest(path: Path, digest: Any, tell: Callable[[int], None]) -> str:
    done = 0
    with path.open("rb") as file:
        while piece := file.read(CHUNK):
            digest.update(piece)
            done += len(piece)
            tell(done)
    return str(digest.hexdigest())


def record_hash(path: Path, sha256: str) -> None:
    """Keep the hash that a downloaded file was checked against."""
    file = record_file(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps({"path": str(path.resolve()), "sha256": sha256}), encoding="utf-8")


def recorded_hash(path: Path) -> str | None:
    """What `record_hash` kept for a file at this place; None without a record that can be read."""
    try:
        written = json.loads(record_file(path).read_text(encoding="utf-8"))
        return str(written["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def record_file(path: Path) -> Path:
    """Where what is known about the file at `path` is kept."""
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogateescape")).hexdigest()[:32]
    return cache_folder("downloads") / f"{place}.json"
