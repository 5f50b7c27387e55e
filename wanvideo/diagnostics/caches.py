"""What is kept between runs and can be made again: how much it is, and how it is removed."""

import logging
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wanvideo.cache_folder import REQUANTIZED, cache_folder
from wanvideo.errors import UserError
from wanvideo.library.results import KIND as THUMBNAILS
from wanvideo.library.results import TRASH

log = logging.getLogger(__name__)

# Every kind that `cache_folder` is asked for.
KINDS = (
    REQUANTIZED,
    "prompts",
    THUMBNAILS,
    "proofs",
    "calibration",
    "sdpa",
    "inspected",
    "downloads",
    "compiled",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """A folder and what lies in it."""

    name: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskState:
    """Of the disk that holds the output folder, bytes; and what lies in that folder: videos, uploads, windows
    of unfinished jobs, trash.
    """

    free: int
    total: int
    parts: tuple[Usage, ...]


def list_caches() -> list[Usage]:
    """One for each of KINDS."""
    return [_usage(kind, [cache_folder(kind)]) for kind in KINDS]


def clear_cache(kind: str) -> Usage:
    """Remove what is kept of one kind; returns what it was. Raises UserError for an unknown kind, or for
    files that can't be removed.
    """
    if kind not in KINDS:
        raise UserError("there is no such cache", value=kind[:100], allowed=KINDS)
    folder = cache_folder(kind)
    was = _usage(kind, [folder])
    try:
        if folder.is_symlink():
            raise UserError("this cache is a link to another folder and is left alone", value=kind)
        if folder.exists():
            shutil.rmtree(folder)
    except OSError as error:
        fix = "Unload the models, then try again."
        raise UserError(f"the cache {kind} can't be removed: {error.strerror or error}", fix=fix) from error
    log.info("the cache %s was cleared: %d files", kind, was.files)
    return was


def disk_state(output_dir: str | Path) -> DiskState:
    """Raises UserError for an output folder that is not there and can't be."""
    folder = Path(output_dir)
    there = next((place for place in (folder.absolute(), *folder.absolute().parents) if place.is_dir()), None)
    if there is None:
        raise UserError("the output folder is on a disk that is not there", value=folder.name)
    disk = shutil.disk_usage(there)
    parts = (
        _usage("videos", folder.glob("*.mp4")),
        _usage("uploads", [folder / "uploads"]),
        _usage("windows", [folder / ".work"]),
        _usage("trash", [folder / TRASH]),
    )
    return DiskState(free=disk.free, total=disk.total, parts=parts)


def _usage(name: str, places: Iterable[Path]) -> Usage:
    sizes = [size for place in places for size in _sizes(place)]
    return Usage(name=name, files=len(sizes), bytes=sum(sizes))


def _sizes(place: Path) -> Iterator[int]:
    """Of a file, or of every file below a folder; links are not followed, what vanishes is not counted."""
    files = (
        [place]
        if not place.is_dir()
        else [Path(at, name) for at, _, names in os.walk(place) for name in names]
    )
    for file in files:
        try:
            yield file.lstat().st_size
        except OSError:
            continue
