"""One file from the hub to its place: taken up where it stopped, checked, and only then given its name."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from wanvideo.downloads.digest import git_sha1_of, record_file, record_hash, sha256_of
from wanvideo.downloads.hub import Hub, RemoteFile
from wanvideo.downloads.progress import Meter
from wanvideo.errors import UserError

log = logging.getLogger(__name__)

PART = ".part"


def part_file(remote: RemoteFile, target: Path) -> Path:
    """Where the data is until it is whole. The name tells the content, so that two versions never mix."""
    content = remote.sha256 or remote.git_sha1 or str(remote.bytes)
    return target.with_name(f"{target.name}.{content[:12]}{PART}")


def usable_bytes(remote: RemoteFile, part: Path) -> int:
    """How much of an earlier download can be used."""
    size = part.stat().st_size if part.is_file() else 0
    return size if size <= remote.bytes else 0


def fetch(hub: Hub, remote: RemoteFile, target: Path, meter: Meter) -> None:
    """Bring a file that is not there yet.

    Raises UserError (network, wrong bytes, a file of other content in its place) and what the meter's
    progress raises (Cancelled); the part stays for the next time unless its bytes are wrong.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _alone(target):
        part = part_file(remote, target)
        _receive(hub, remote, part, meter)
        sha256 = _check(remote, part, meter)
        if target.exists():
            raise taken(target)
        part.rename(target)
    log.info("%s is there and checked", target)
    if sha256:
        record_hash(target, sha256)


def _receive(hub: Hub, remote: RemoteFile, part: Path, meter: Meter) -> None:
    start = usable_bytes(remote, part)
    with part.open("r+b" if start else "wb") as file:
        file.seek(start)
        for place, piece in hub.data(remote, start):
            if place != file.tell():
                file.seek(place)
                file.truncate()
            file.write(piece)
            meter.at(file.tell())
            if file.tell() > remote.bytes:
                break  # a server without an end would fill the disk; the check refuses it


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    """Raises UserError while another process writes the same file: two writers would spoil the part."""
    place = record_file(target).with_suffix(".lock")
    place.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(place, timeout=0):
            yield
    except Timeout as error:
        raise UserError(
            f"{target.name} is being downloaded by another window of this program", fix="Wait until it ends."
        ) from error


def taken(target: Path) -> UserError:
    """The error for a place where another file is."""
    return UserError(
        f"{target.name} is there already with other content",
        value=str(target),
        fix="Move or remove it; files that were not made here are never replaced.",
    )


def _check(remote: RemoteFile, part: Path, meter: Meter) -> str | None:
    """Raises UserError, with the part deleted, unless size and hash are those that the hub recorded."""
    name, size = remote.known.file_name, part.stat().st_size
    found: str | None = None
    is_right = size == remote.bytes
    if is_right and remote.sha256:
        found = sha256_of(part, lambda _: meter.say(f"checking {name}"))
        is_right = found == remote.sha256
    elif is_right and remote.git_sha1:
        is_right = git_sha1_of(part, lambda _: meter.say(f"checking {name}")) == remote.git_sha1
    if not is_right:
        part.unlink()
        raise UserError(
            f"{name} arrived with wrong bytes and was deleted",
            fix="Try again; if it happens again, the mirror or a proxy changes the data.",
        )
    return found
