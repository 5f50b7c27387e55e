"""Keeps the folder of uploads from growing for ever: old files go, and the oldest when there are too many.

Gradio itself only ever adds to it: each upload lies in a folder named by the hash of its content. Nothing
else is touched, as the folder may be one that others use (GRADIO_TEMP_DIR).
"""

import logging
import re
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.jobs.forms import Kept
from wanvideo.jobs.job import Job

log = logging.getLogger(__name__)

OLDEST_SECONDS = 14 * 86_400.0
YOUNGEST_SECONDS = 86_400.0  # a form that stands open since yesterday still has its inputs
MOST_BYTES = 20 << 30
EVERY_SECONDS = 3600.0
_HASH = re.compile("[0-9a-f]{40,64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Upload:
    path: Path
    used: float  # Unix seconds
    bytes: int


def clean_uploads(folder: Path, kept: Collection[Path], now: float | None = None) -> int:
    """Removes files older than `OLDEST_SECONDS`, then the oldest until `MOST_BYTES` are left; returns the
    bytes that were freed. A file of `kept`, or one of the last day, stays. Links are not followed.
    """
    now = time.time() if now is None else now
    wanted = {path.resolve() for path in kept}
    uploads = sorted(_uploads(folder), key=lambda upload: upload.used)
    total, freed = sum(upload.bytes for upload in uploads), 0
    for upload in uploads:
        age = now - upload.used
        is_due = age > OLDEST_SECONDS or total - freed > MOST_BYTES
        if is_due and age > YOUNGEST_SECONDS and upload.path.resolve() not in wanted:
            freed += upload.bytes if _remove(upload.path) else 0
    if freed:
        log.info("uploads: %d MB of old files removed", freed >> 20)
    return freed


def files_of(jobs: Iterable[Job], forms: Iterable[Kept] = ()) -> set[Path]:
    """Every file that the jobs' requests and the kept forms name."""
    texts = _texts([*(job.request for job in jobs), *forms])
    # A prompt may look like a path, and with a zero byte the system would refuse to look for it
    return {Path(text) for text in texts if Path(text).is_absolute() and "\0" not in text}


class UploadCleaner:
    """Cleans at `start` and then every hour, in the background. `jobs` and `forms` give those whose files are
    kept.
    """

    def __init__(
        self, folder: Path, jobs: Callable[[], Iterable[Job]], forms: Callable[[], Iterable[Kept]]
    ) -> None:
        self._folder, self._jobs, self._forms = folder, jobs, forms
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="uploads", daemon=True)

    def start(self) -> None:
        """Return at once."""
        self._thread.start()

    def stop(self) -> None:
        """No further cleaning begins."""
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.is_set():
            clean_uploads(self._folder, files_of(self._jobs(), self._forms()))
            self._stopping.wait(EVERY_SECONDS)


def _uploads(folder: Path) -> Iterator[_Upload]:
    hashed = [place for place in folder.glob("*") if _HASH.fullmatch(place.name) and not place.is_symlink()]
    for path in (path for place in hashed for path in place.rglob("*")):
        try:
            status = path.lstat()
        except OSError:  # removed meanwhile
            continue
        if not path.is_dir() or path.is_symlink():
            yield _Upload(path=path, used=max(status.st_mtime, status.st_ctime), bytes=status.st_size)


def _remove(path: Path) -> bool:
    """The file, and its folder when it was the last in it. What can't be removed is told and stays."""
    try:
        path.unlink(missing_ok=True)
        if not any(path.parent.iterdir()):
            path.parent.rmdir()
    except OSError as error:
        log.warning("the upload %s stays: %s", path.name, error)
        return False
    return True


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """The strings among values, in lists and in mappings of them."""
    for value in values:
        if isinstance(value, str):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _texts(value)
        elif isinstance(value, Mapping):
            yield from _texts(value.values())
