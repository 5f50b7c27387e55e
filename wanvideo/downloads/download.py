"""A download as a person sees it: what is missing, whether it fits on the disk, and all of it brought."""

import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wanvideo.downloads.catalog import KnownFile, words_for_bytes
from wanvideo.downloads.hub import Hub, RemoteFile
from wanvideo.downloads.progress import Meter, Progress
from wanvideo.downloads.transfer import fetch, part_file, taken, usable_bytes
from wanvideo.errors import UserError

SPARE_BYTES = 200_000_000  # a full disk troubles more than this program


@dataclass(frozen=True, slots=True, kw_only=True)
class Downloaded:
    """What a download brought, and what was there before."""

    brought: tuple[Path, ...]
    kept: tuple[Path, ...]


def target_of(file: KnownFile, folder: Path) -> Path:
    """Its place in a models folder."""
    return folder / file.folder / file.file_name


def download(files: Iterable[KnownFile], folder: Path, progress: Progress) -> Downloaded:
    """Bring the files that `folder`, a models folder, does not have.

    Raises UserError in one sentence (network, token, disk space, wrong bytes, other content in the way) and
    what `progress` raises (Cancelled). What arrived is kept for the next time.
    """
    waiting = Meter(progress, 0)
    waiting.begin("", 0, 0)
    with Hub(waiting.say) as hub:
        remotes = [hub.describe(file) for file in files]
    missing, kept = [], []
    for remote in remotes:
        target = target_of(remote.known, folder)
        if not target.exists():
            missing.append(remote)
        elif target.is_file() and target.stat().st_size == remote.bytes:
            kept.append(target)
        else:
            raise taken(target)
    needed = sum(remote.bytes - _there(remote, folder) for remote in missing)
    _check_space(folder, needed)
    meter, before = Meter(progress, sum(remote.bytes for remote in missing)), 0
    with Hub(meter.say) as hub:
        for remote in missing:
            target = target_of(remote.known, folder)
            meter.begin(target.name, before, _there(remote, folder))
            fetch(hub, remote, target, meter)
            before += remote.bytes
    return Downloaded(brought=tuple(target_of(remote.known, folder) for remote in missing), kept=tuple(kept))


def _there(remote: RemoteFile, folder: Path) -> int:
    return usable_bytes(remote, part_file(remote, target_of(remote.known, folder)))


def _check_space(folder: Path, needed: int) -> None:
    place = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(place).free
    if needed and needed + SPARE_BYTES > free:
        sizes = f"{words_for_bytes(needed)} needed, {words_for_bytes(free)} free"
        raise UserError(
            f"not enough space on the disk of {folder}: {sizes}",
            fix="Make space, or choose a models folder on another disk (--models-dir).",
        )
