"""Running the ffmpeg that comes with imageio-ffmpeg, and turning its failures into errors."""

import errno
import logging
import subprocess
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO

import imageio_ffmpeg

from wanvideo.errors import UserError

logger = logging.getLogger(__name__)

# Without encoder strings, and with a fixed number of threads, equal input gives equal files.
REPRODUCIBLE = ("-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-threads", "4")

_PROGRESS = ("-nostats", "-stats_period", "0.2", "-progress", "pipe:1")
_HIDDEN = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows only: no console pops up over the page
_CLOSED = (errno.EPIPE, errno.EINVAL)  # EINVAL: what Windows says of a pipe whose reader is gone

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
    source = b"" if stdin is None else stdin
    command = _command(arguments)
    result = subprocess.run(command, input=source, capture_output=True, check=False, creationflags=_HIDDEN)
    if result.returncode:
        raise _failure(result.stderr)
    return result.stdout


def feed_ffmpeg(arguments: Sequence[str], pieces: Iterable[memoryview]) -> int:
    """Runs ffmpeg on `pieces` of bytes, each asked for when ffmpeg has taken the one before; how many bytes.

    Errors as in `run_ffmpeg`; an error of `pieces` itself ends ffmpeg and is passed on. When ffmpeg fails,
    the remaining pieces are not asked for.
    """
    process = _started(_command(arguments), stdin=subprocess.PIPE)
    fed, complete = 0, True
    # A reader of its own: ffmpeg would wait for ever on a full pipe of words nobody reads.
    with process, ThreadPoolExecutor(1) as reader:
        assert process.stdin is not None and process.stderr is not None
        words = reader.submit(process.stderr.read)
        try:
            for piece in pieces:
                if not (complete := _taken(process.stdin, piece)):
                    break
                fed += len(piece)
        except BaseException:
            process.kill()
            raise
        process.stdin.close()
        told = words.result() or b"it ended before its input"
    if process.returncode or not complete:
        raise _failure(told)
    return fed


def watch_ffmpeg(arguments: Sequence[str], tell: Callable[[int], None]) -> None:
    """Runs ffmpeg; a few times a second `tell` is given the frames that it has written so far.

    Errors as in `run_ffmpeg`; an error of `tell` itself ends ffmpeg and is passed on.
    """
    process = _started(_command([*_PROGRESS, *arguments]), stdout=subprocess.PIPE)
    with process, ThreadPoolExecutor(1) as reader:
        assert process.stdout is not None and process.stderr is not None
        words = reader.submit(process.stderr.read)
        try:
            for line in process.stdout:
                name, _, value = line.decode("ascii", "replace").partition("=")
                if name == "frame" and value.strip().isdecimal():
                    tell(int(value))
        except BaseException:
            process.kill()
            raise
        told = words.result()
    if process.returncode:
        raise _failure(told)


def _started(
    command: Sequence[str], *, stdin: int = subprocess.DEVNULL, stdout: int = subprocess.DEVNULL
) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        command,
        bufsize=0,  # what a dead ffmpeg did not take must not be written again when the pipe is closed
        stdin=stdin,
        stdout=stdout,
        stderr=subprocess.PIPE,
        creationflags=_HIDDEN,
    )


def _taken(pipe: IO[bytes], piece: memoryview) -> bool:
    """Whether ffmpeg took the whole piece; it does not once it has ended, and its own words say why."""
    try:
        while piece:
            piece = piece[pipe.write(piece) :]
    except OSError as error:
        if error.errno not in _CLOSED:
            raise
        return False
    return True


def _command(arguments: Sequence[str]) -> list[str]:
    logger.debug("ffmpeg %s", " ".join(arguments))
    return [imageio_ffmpeg.get_ffmpeg_exe(), "-hide_banner", "-loglevel", "error", "-y", *arguments]


def disk_error(error: OSError) -> Exception:
    """The UserError for a full disk or an output folder that cannot be written; any other `error` itself."""
    if error.errno not in _MENDABLE:
        return error
    what, fix = _MENDABLE[error.errno]
    return UserError(what, fix=fix)


def _failure(stderr: bytes) -> Exception:
    told = stderr.decode("utf-8", "replace")
    for words, (what, fix) in _MENDABLE_WORDS.items():
        if words in told:
            return UserError(what, fix=fix)
    return FfmpegError("ffmpeg failed: " + " | ".join(told.strip().splitlines()[-5:]))
