"""Tiny real media files, made on the fly by the same ffmpeg, Pillow and libsndfile the application uses."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile
from PIL import Image

from wanvideo.media.ffmpeg import run_ffmpeg

VIDEOS = (".mp4", ".mkv")
GOLDENS = Path(__file__).parents[2] / "../shared/goldens"


def tone(
    seconds: float = 0.5, rate: int = 22_050, channels: int = 1, pitch: float = 440.0
) -> npt.NDArray[np.float32]:
    """(n, channels) of a sine at half level; each channel a little higher than the last."""
    time = np.arange(round(seconds * rate)) / rate
    pitches = pitch * (1 + 0.5 * np.arange(channels))
    return (0.5 * np.sin(2 * np.pi * time[:, None] * pitches)).astype(np.float32)


def write_sound(path: Path, seconds: float = 0.5, rate: int = 22_050, channels: int = 1) -> Path:
    """A tone in the format of the suffix of `path`."""
    wav = path.with_suffix(".wav")
    soundfile.write(str(wav), tone(seconds, rate, channels), rate)
    if path == wav:
        return path
    video = ["-f", "lavfi", "-i", f"color=red:s=32x32:r=25:d={seconds}"] if path.suffix in VIDEOS else []
    run_ffmpeg(["-i", str(wav), *video, str(path)])
    return path


def grey_frames(count: int, height: int = 32, width: int = 48) -> npt.NDArray[np.uint8]:
    """Flat frames whose level tells their number: frame k is 40 + 4 k."""
    levels = (40 + 4 * np.arange(count)).astype(np.uint8)
    return np.broadcast_to(levels[:, None, None, None], (count, height, width, 3)).copy()


def picture(width: int = 60, height: int = 40) -> Image.Image:
    """A gradient with a red upper left corner."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    pixels = np.stack([x, y, 128 + 0 * x], axis=-1).astype(np.uint8)
    pixels[: height // 4, : width // 4] = (255, 0, 0)
    return Image.fromarray(pixels)
