"""Opening a file a user named: the checks every reader shares, and the one sentence that refuses it."""

import codecs
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.container import InputContainer

from wanvideo.errors import UserError

PICTURES = "a png, jpg, webp, bmp, gif or tiff picture"
SOUNDS = "wav, mp3, flac, ogg, m4a, or a video with sound (mp4, mov, mkv, webm, avi)"
VIDEOS = "mp4, mov, mkv, webm, avi or gif"

MAX_SECONDS = 3 * 3600.0
MIN_SIDE = 16
MAX_SIDE = 16_384
MAX_RATIO = 16
MAX_MEGAPIXELS = 80  # below the size at which Pillow itself starts to warn of a bomb
MAX_PIXELS = MAX_MEGAPIXELS * 10**6

# Neither playlists (m3u8, concat) nor network protocols: they would let a file make us open other files.
CONTAINER_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,webm,avi,gif,wav,w64,mp3,flac,ogg,aac,aiff,caf,amr,asf,flv,mpeg,mpegts",
}

_SIGNATURES = (
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"BM", "a BMP picture"),
    (b"fLaC", "FLAC sound"),
    (b"OggS", "an Ogg file"),
    (b"ID3", "MP3 sound"),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM file"),
    (b"PK\x03\x04", "a zip archive"),
    (b"%PDF", "a PDF document"),
)
_RIFF_KINDS = {b"WAVE": "WAV sound", b"WEBP": "a WebP picture", b"AVI ": "an AVI video"}


def refusal(path: Path, kind: str, found: str, accepted: str) -> UserError:
    """The error for an unusable input: its name without folders, what was found, what is accepted."""
    return UserError(f"{kind} {path.name or str(path)!r} cannot be used: {found}", allowed=accepted)


def require_file(path: str | Path, kind: str, accepted: str) -> Path:
    """`path` as a Path to a readable regular file of at least one byte; anything else raises UserError."""
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise refusal(path, kind, "it is a folder", accepted)
        if not stat.S_ISREG(status.st_mode):
            raise refusal(path, kind, "it is not a regular file", accepted)
        if status.st_size == 0:
            raise refusal(path, kind, "the file is empty (0 bytes)", accepted)
        with path.open("rb"):
            return path
    except (FileNotFoundError, NotADirectoryError) as error:
        raise refusal(path, kind, "there is no such file", accepted) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL character in the name
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(path, kind, f"it cannot be opened ({reason})", accepted) from error


def describe_content(path: Path) -> str:
    """What the first bytes of a readable file look like, for the middle of a refusal."""
    with path.open("rb") as file:
        head = file.read(512)
    if head[:4] == b"RIFF":
        return _RIFF_KINDS.get(head[8:12], "a RIFF file")
    if head[4:8] == b"ftyp":
        return "an MP4 or QuickTime file"
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    return "text" if _is_text(head) else "unknown data"


def unreadable(path: Path, kind: str, accepted: str) -> UserError:
    """The refusal for a file of the wrong kind or with damaged content."""
    found = f"it is damaged or of another kind (it looks like {describe_content(path)})"
    return refusal(path, kind, found, accepted)


def check_size(path: Path, kind: str, width: int, height: int, accepted: str) -> None:
    """Refuses frames that are huge, tiny or all length: fitting them to a video would take gigabytes."""
    longest, shortest = max(width, height), min(width, height)
    usable = shortest >= MIN_SIDE and longest <= min(MAX_SIDE, MAX_RATIO * shortest)
    if not usable or width * height > MAX_PIXELS:
        limits = f"{MIN_SIDE} to {MAX_SIDE} pixels a side, {MAX_MEGAPIXELS} megapixels and {MAX_RATIO}:1"
        raise refusal(path, kind, f"it is {width} x {height} pixels", f"{accepted} of {limits}")


def check_seconds(path: Path, kind: str, seconds: float, accepted: str) -> None:
    """Refuses what lasts longer than `MAX_SECONDS`."""
    if seconds > MAX_SECONDS:
        found = f"it lasts {seconds / 3600:.1f} hours"
        raise refusal(path, kind, found, f"{accepted} of at most {MAX_SECONDS / 3600:.0f} hours")


@contextmanager
def open_container(path: str | Path, kind: str, accepted: str) -> Iterator[InputContainer]:
    """A media container by libav. What libav cannot read, here or inside the `with`, becomes a UserError."""
    path = require_file(path, kind, accepted)
    try:
        # Tags of old files are often not UTF-8, and a tag must not make the sound unusable.
        with av.open(str(path.absolute()), options=CONTAINER_OPTIONS, metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise unreadable(path, kind, accepted) from error


def _is_text(head: bytes) -> bool:
    try:
        # A letter of several bytes may be cut by the end of the sample.
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return all(letter.isprintable() or letter.isspace() for letter in text)
