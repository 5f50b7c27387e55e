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
DISK_FULL = "the disk is full: the video cannot be written"

_MENDABLE = {
    "No space left on device": (DISK_FULL, "Free some space or choose another output folder, then try again."),
    "Permission denied": ("the output folder is not writable", "Choose another output folder."),
    "Read-only file system": ("the output folder is not writable", "Choose another output folder."),
}


class FfmpegError(RuntimeError):
    """ffmpeg ended with an error; the text holds its last lines."""


def run_ffmpeg(arguments: Sequence[str], *, stdin: bytes | memoryview | None = None) -> bytes:
    """Runs ffmpeg with `arguments`, feeds it `stdin`, returns what it wrote to its standard output.

    Raises UserError where the user can help (disk full, no permission), FfmpegError otherwise.
    """
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *arguments]
    logger.debug("ffmpeg %s", " ".join(arguments))
    source = {"stdin": subprocess.DEVNULL} if stdin is None else {"input": stdin}
    hidden = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # exists on Windows only: no console pops up over the page
    result = subprocess.run(command, capture_output=True, check=False, creationflags=hidden, **source)
    if result.returncode:
        raise _failure(result.stderr.decode("utf-8", "replace"))
    return result.stdout


def disk_error(error: OSError) -> Exception:
    """`error` itself, or the UserError that stands for it when the disk is full."""
    if error.errno == errno.ENOSPC:
        return UserError(DISK_FULL, fix=_MENDABLE["No space left on device"][1])
    return error


def _failure(stderr: str) -> Exception:
    for words, (what, fix) in _MENDABLE.items():
        if words in stderr:
            return UserError(what, fix=fix)
    return FfmpegError("ffmpeg failed: " + " | ".join(stderr.strip().splitlines()[-5:]))
