"""Running the ffmpeg that comes with imageio-ffmpeg, and turning its failures into errors."""

import errno
import logging
import subprocess
from collections.abc import Sequence

import imageio_ffmpeg

from wanvideo.errors import UserError

logger = logging.getLogger(__name__)

# Without encoder strings, and with a fixed number of threads, equal input gives equal files.
REPRODUCIBLE = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-threads", "4")

_DISK_FULL = (
    "the disk is full: the video cannot be written",
    "Free some space or choose another output folder.",
)
_NOT_WRITABLE = ("the output folder cannot be written to", "Choose another output folder.")
_MENDABLE = {
    errno.ENOSPC: _DISK_FULL,
    errno.EACCES: _NOT_WRITABLE,
    errno.EPERM: _NOT_WRITABLE,
    errno.EROFS: _NOT_WRITABLE,
    errno.EEXIST: _NOT_WRITABLE,  # a file stands where the folder should be
    errno.ENOTDIR: _NOT_WRITABLE,
}
_MENDABLE_WORDS = {
    "No space left on device": _DISK_FULL,
    "Permission denied": _NOT_WRITABLE,
    "Read-only file system": _NOT_WRITABLE,
}


class FfmpegError(RuntimeError):
    """ffmpeg ended with an error; the text holds its last lines."""


def run_ffmpeg(arguments: Sequence[str], *, stdin: bytes | memoryview | None = None) -> bytes:
    """Runs ffmpeg with `arguments`, feeds it `stdin`, returns what it wrote to its standard output.

    Raises UserError where the user can help (disk full, no permission), FfmpegError otherwise.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *arguments]
    logger.debug("ffmpeg %s", " ".join(arguments))
    source = b"" if stdin is None else stdin
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows only: no console pops up over the page
    result = subprocess.run(command, input=source, capture_output=True, check=False, creationflags=hidden)
    if result.returncode:
        raise _failure(result.stderr.decode("utf-8", "replace"))
    return result.stdout


def disk_error(error: OSError) -> Exception:
    """The UserError for a full disk or an output folder that cannot be written; any other `error` itself."""
    if error.errno not in _MENDABLE:
        return error
    what, fix = _MENDABLE[error.errno]
    return UserError(what, fix=fix)


def _failure(stderr: str) -> Exception:
    for words, (what, fix) in _MENDABLE_WORDS.items():
        if words in stderr:
            return UserError(what, fix=fix)
    return FfmpegError("ffmpeg failed: " + " | ".join(stderr.strip().splitlines()[-5:]))
