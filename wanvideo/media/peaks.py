"""How loud a sound is along its time, for a drawing of it. Loads no torch."""

from functools import lru_cache
from pathlib import Path

import numpy as np

from wanvideo.media.ffmpeg import FfmpegError, run_ffmpeg
from wanvideo.media.input_file import CONTAINER_OPTIONS, SOUNDS, unreadable
from wanvideo.media.probe import probe_sound

RATE = 4000  # samples a second that are looked at: an hour is 28 MB
COLUMNS = 300


def sound_peaks(path: str | Path) -> tuple[float, ...]:
    """The largest absolute sample, 0 to 1, in each of COLUMNS equal parts of a sound, or in fewer of a very
    short one. Kept for the file as it is. Raises UserError for an unusable file.
    """
    path = Path(path)
    probe_sound(path)
    status = path.stat()
    return _peaks(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=32)
def _peaks(path: Path, _size: int, _modified: int) -> tuple[float, ...]:
    options = [text for name, value in CONTAINER_OPTIONS.items() for text in (f"-{name}", value)]
    output = ["-vn", "-map", "0:a:0", "-f", "s16le", "-ar", str(RATE), "-ac", "1", "pipe:1"]
    try:
        raw = run_ffmpeg([*options, "-i", f"file:{path.absolute()}", *output])
    except FfmpegError as error:
        raise unreadable(path, "sound", SOUNDS) from error
    heights = np.abs(np.frombuffer(raw, np.int16).astype(np.int32))
    if not len(heights):
        return ()
    begins = np.linspace(0, len(heights), min(COLUMNS, len(heights)), endpoint=False).astype(int)
    peaks = np.maximum.reduceat(heights, begins) / 32768
    return tuple(map(float, peaks.round(3)))
