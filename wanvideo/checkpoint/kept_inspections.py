"""What inspecting files has told, kept between runs: by path, sizes and times of a checkpoint's files.

One JSON file in the cache folder. It belongs to the source of this package: another version inspects anew.
"""

import hashlib
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from wanvideo.cache_folder import cache_folder
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.refusal import Refusal
from wanvideo.effective_mode import StoredFormat

log = logging.getLogger(__name__)

FOLDER, NAME = "inspected", "checkpoints.json"
_WRONG = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_SOURCES = ("checkpoint/*.py", "quantization/*.py", "effective_mode.py")


class KeptInspections:
    """Results by checkpoint. Read when it is made; `save` writes what was added."""

    def __init__(self) -> None:
        self._path = cache_folder(FOLDER) / NAME
        self._entries, self._is_new = _read(self._path), False

    def get(self, files: Sequence[Path]) -> CheckpointFacts | Refusal | None:
        """None for files that are not known, or have changed since."""
        entry = self._entries.get(str(files[0].absolute()))
        try:
            if entry is None or entry["stamp"] != _stamp(files):
                return None
            told = entry["told"]
            if entry["usable"]:
                return _facts(told, files)
            return Refusal(path=files[0], **told)
        except _WRONG:
            log.info("The kept inspection of %s is damaged, it is inspected again", files[0].name)
            return None

    def put(self, files: Sequence[Path], found: CheckpointFacts | Refusal) -> None:
        """Keep the result for these files."""
        told = {name: value for name, value in asdict(found).items() if name not in ("path", "files")}
        usable = isinstance(found, CheckpointFacts)
        self._entries[str(files[0].absolute())] = {"stamp": _stamp(files), "usable": usable, "told": told}
        self._is_new = True

    def save(self) -> None:
        """Write, unless nothing was added; files that are gone are left out. A folder that can't be written
        to costs the time of the next inspection, no more.
        """
        if not self._is_new:
            return
        present = {path: entry for path, entry in self._entries.items() if Path(path).exists()}
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(
                "w", dir=self._path.parent, delete=False, suffix=".part"
            ) as file:
                json.dump({"version": _version(), "entries": present}, file)
            Path(file.name).replace(self._path)
        except OSError as error:
            log.info("Inspections of model files are not kept: %s", error)
        self._is_new = False


def _read(path: Path) -> dict[str, Any]:
    try:
        written = json.loads(path.read_bytes())
        entries = written["entries"] if written["version"] == _version() else {}
        return dict(entries)
    except FileNotFoundError:
        return {}
    except (OSError, *_WRONG) as error:
        log.info("%s can't be read, model files are inspected again: %s", path, error)
        return {}


def _facts(told: dict[str, Any], files: Sequence[Path]) -> CheckpointFacts:
    stored = told["stored"]
    return CheckpointFacts(
        **{
            **told,
            "path": files[0],
            "files": tuple(files),
            "dtypes": tuple(told["dtypes"]),
            "stored": StoredFormat(**{**stored, "others": tuple(stored["others"])}),
        }
    )


def _stamp(files: Sequence[Path]) -> list[list[Any]]:
    return [[file.name, stat.st_size, stat.st_mtime_ns] for file in files for stat in (file.stat(),)]


@cache
def _version() -> str:
    """Of the code that inspects."""
    package = Path(__file__).parents[1]
    sources = sorted(source for pattern in _SOURCES for source in package.glob(pattern))
    stats = [(source.name, source.stat()) for source in sources]
    texts = [f"{name} {stat.st_size} {stat.st_mtime_ns}" for name, stat in stats]
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()
