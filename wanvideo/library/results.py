"""The videos of an output folder, newest first; what is read of each is kept beside its thumbnail."""

import hashlib
import json
import logging
import os
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from wanvideo.cache_folder import cache_folder
from wanvideo.errors import UserError
from wanvideo.library.settings import MOST_CHARACTERS, VideoSettings, comment_of, parse_settings
from wanvideo.media.frames import read_frame_at
from wanvideo.media.input_file import VIDEOS, check_size, open_container, refusal
from wanvideo.media.probe import video_stream

log = logging.getLogger(__name__)

KIND = "library"  # of the cache folder
SUFFIX = ".mp4"
TRASH = "trash"
PAGE = 24
THUMBNAIL = (400, 400)
QUALITY = 82


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What one look into a video told. `fault` says why it can't be shown, and then the rest is empty.

    `comment` is its metadata, `words` what a search looks through, in lower case.
    """

    width: int = 0
    height: int = 0
    fps: float = 0.0
    frames: int = 0
    seconds: float = 0.0
    comment: str = ""
    words: str = ""
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A video of the folder. `thumbnail` is a JPEG that may be missing; `modified` is in Unix seconds."""

    path: Path
    modified: float
    bytes: int
    thumbnail: Path
    facts: Facts

    def settings(self) -> VideoSettings:
        """Those in its metadata. Raises UserError."""
        return parse_settings(self.facts.comment, self.path.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shelf:
    """One page of results: `number` of `pages`, from 1; `total` results were found."""

    results: tuple[Result, ...]
    number: int
    pages: int
    total: int


def list_results(folder: Path, search: str = "", number: int = 1) -> Shelf:
    """Page `number` (the nearest there is) of the results that hold every word of `search`: in the file's
    name, the prompts, or a setting as NAME=VALUE.
    """
    files, words = _newest_first(folder), search.casefold().split()
    if words:
        files = [file for file in files if all(word in _look(*file).facts.words for word in words)]
    pages = max(1, -(-len(files) // PAGE))
    number = min(max(1, number), pages)
    shown = files[(number - 1) * PAGE : number * PAGE]
    results = tuple(_look(*file) for file in shown)
    return Shelf(results=results, number=number, pages=pages, total=len(files))


def find_result(folder: Path, name: str) -> Result:
    """The video of that name. Raises UserError for anything but the plain name of a video in the folder."""
    found = next((file for file in _newest_first(folder) if file[0].name == name), None)
    if found is None:
        raise UserError("this video is not in the output folder", value=name[:200])
    return _look(*found)


def move_to_trash(folder: Path, name: str) -> Path:
    """Move a result to the folder `trash` beside it, under a free name; nothing is ever removed. Returns the
    new path. Raises UserError.
    """
    result, trash = find_result(folder, name), folder.resolve() / TRASH
    try:
        trash.mkdir(exist_ok=True)
        if trash.is_symlink():
            raise UserError("the folder trash must be a folder, not a link", value=str(trash))
        target = trash / name
        if os.path.lexists(target):
            target = target.with_stem(f"{target.stem}_{time.time_ns()}")
        result.path.rename(target)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"{name} can't be moved to the trash folder: {reason}") from error
    _forget(result)
    return target


def save_last_frame(result: Result, uploads: Path) -> Path:
    """The last frame as a PNG, kept as an upload is: in a folder of `uploads` named by the hash of its
    content. Raises UserError for a video that can't be read.
    """
    pixels = read_frame_at(result.path, max(0, result.facts.frames - 1), result.facts.fps or 25.0)
    content = _encoded(Image.fromarray(pixels), format="PNG")
    path = uploads / hashlib.sha256(content).hexdigest() / f"{result.path.stem}_last.png"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    except OSError as error:
        raise UserError(f"the last frame can't be written: {error.strerror or error}") from error
    return path


def _newest_first(folder: Path) -> list[tuple[Path, os.stat_result]]:
    """Regular files only: a link could lead out of the folder."""
    root = folder.resolve()
    files = [file for file in _videos(root) if stat.S_ISREG(file[1].st_mode)]
    return sorted(files, key=lambda file: (file[1].st_mtime_ns, file[0].name), reverse=True)


def _videos(root: Path) -> Iterator[tuple[Path, os.stat_result]]:
    try:
        entries = list(os.scandir(root))
    except FileNotFoundError:
        return
    except OSError as error:
        raise UserError(f"the output folder can't be read: {error.strerror}") from error
    for entry in entries:
        if not entry.name.startswith(".") and Path(entry.name).suffix.lower() == SUFFIX:
            try:
                yield root / entry.name, os.lstat(entry.path)
            except FileNotFoundError:  # moved away since the folder was read
                continue


def _look(path: Path, status: os.stat_result) -> Result:
    """What is kept of the file, else a look into it."""
    told = f"{path} {status.st_size} {status.st_mtime_ns}"
    key = hashlib.sha256(told.encode("utf-8", "surrogateescape")).hexdigest()[:32]
    kept = cache_folder(KIND) / f"{key}.json"
    thumbnail = kept.with_suffix(".jpg")
    facts = _read(kept)
    if facts is None or not (facts.fault or thumbnail.exists()):
        facts = _inspect(path, thumbnail)
        _write(kept, json.dumps(asdict(facts)).encode())
    return Result(path=path, modified=status.st_mtime, bytes=status.st_size, thumbnail=thumbnail, facts=facts)


def _inspect(path: Path, thumbnail: Path) -> Facts:
    try:
        with open_container(path, "video", VIDEOS) as container:
            stream = video_stream(container, path)
            size = stream.codec_context.width, stream.codec_context.height
            check_size(path, "video", *size, VIDEOS)
            first = next(container.decode(stream), None)
            if first is None:
                raise refusal(path, "video", "it has no frames", VIDEOS)
            _write(thumbnail, _thumbnail(Image.fromarray(first.to_ndarray(format="rgb24"))))
            fps = float(stream.average_rate or stream.guessed_rate or 25)
            seconds = float((stream.duration or 0) * (stream.time_base or 0))
            frames = stream.frames or round(seconds * fps)
            comment = comment_of(container.metadata)[: MOST_CHARACTERS + 1]
    except UserError as error:
        return Facts(fault=str(error), words=path.name.casefold())
    words = _words(path.name, comment)
    return Facts(
        width=size[0],
        height=size[1],
        fps=fps,
        frames=frames,
        seconds=seconds or frames / fps,
        comment=comment,
        words=words,
    )


def _words(name: str, comment: str) -> str:
    """Of a file without settings, its name alone."""
    try:
        settings = parse_settings(comment, name)
    except UserError:
        return name.casefold()
    pairs: dict[str, Any] = {**settings.effective, **settings.request}
    rows = [f"{key.replace(' ', '_')}={value}" for key, value in pairs.items()]
    return "\n".join([name, *rows]).casefold()


def _thumbnail(picture: Image.Image) -> bytes:
    picture.thumbnail(THUMBNAIL)
    return _encoded(picture, format="JPEG", quality=QUALITY)


def _encoded(picture: Image.Image, **how: Any) -> bytes:
    buffer = BytesIO()
    picture.save(buffer, **how)
    return buffer.getvalue()


def _read(path: Path) -> Facts | None:
    try:
        return Facts(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s can't be read and is made again: %s", path.name, error)
        return None


def _write(path: Path, content: bytes) -> None:
    """A folder that can't be written only means that the look is taken again."""
    half = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        half.replace(path)
    except OSError as error:
        log.warning("%s can't be kept: %s", path.name, error)


def _forget(result: Result) -> None:
    for kept in (result.thumbnail, result.thumbnail.with_suffix(".json")):
        try:
            kept.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s can't be removed: %s", kept.name, error)
