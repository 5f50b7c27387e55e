"""Facts about an input file, for the plan and the page: sizes, lengths, rates. Loads no torch.

Every function raises UserError with one sentence for a file that cannot be used.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream
from PIL import Image

from wanvideo.media.input_file import (
    MAX_MEGAPIXELS,
    PICTURES,
    SOUNDS,
    VIDEOS,
    check_seconds,
    check_size,
    open_container,
    refusal,
    require_file,
    unreadable,
)

# Only these decoders are tried: others that Pillow knows run outside programs (EPS) or hold no photographs.
PICTURE_FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
PICTURE_FAULTS = (OSError, ValueError, SyntaxError, IndexError, EOFError, struct.error)
_ORIENTATION_TAG = 0x0112


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """Size in pixels, as the picture is seen (after EXIF orientation)."""

    width: int
    height: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoundFacts:
    """Length in seconds, samples per second, channels."""

    seconds: float
    rate: int
    channels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoFacts:
    """Size in pixels as the video is seen (after rotation), mean frames per second, length in seconds."""

    width: int
    height: int
    frames: int
    fps: float
    seconds: float
    has_sound: bool


def probe_picture(path: str | Path) -> PictureFacts:
    """Size of a picture that can be decoded to its end."""
    with open_picture(path) as image:
        width, height = image.size
        sideways = image.getexif().get(_ORIENTATION_TAG, 1) in (5, 6, 7, 8)
        image.draft("RGB", (64, 64))  # a JPEG is read to its end at an eighth of the size
        image.load()
    return PictureFacts(width=height, height=width) if sideways else PictureFacts(width=width, height=height)


def probe_sound(path: str | Path) -> SoundFacts:
    """Length, rate and channels of the (first) sound of a file."""
    path = require_file(path, "sound", SOUNDS)
    is_float, facts = _soundfile_facts(path) or (False, _container_facts(path))
    check_seconds(path, "sound", facts.seconds, SOUNDS)
    if facts.seconds <= 0:
        raise refusal(path, "sound", "it has no samples", SOUNDS)
    if is_float:
        _check_finite(path)
    return facts


def probe_video(path: str | Path) -> VideoFacts:
    """Size, length and frames of the first video stream, whose first frame is decoded to prove it can be."""
    path = require_file(path, "video", VIDEOS)
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        check_size(path, "video", stream.codec_context.width, stream.codec_context.height, VIDEOS)
        first = next(container.decode(stream), None)
        if first is None:
            raise refusal(path, "video", "it has no frames", VIDEOS)
        frames = _count_packets(container, stream)
        fps = float(stream.average_rate or stream.guessed_rate or 25)
        seconds = _stream_seconds(container, stream) or frames / fps
        has_sound = bool(container.streams.audio)
    check_seconds(path, "video", seconds, VIDEOS)
    width, height = (first.height, first.width) if first.rotation % 180 else (first.width, first.height)
    return VideoFacts(
        width=width, height=height, frames=frames, fps=fps, seconds=seconds, has_sound=has_sound
    )


@contextmanager
def open_picture(path: str | Path) -> Iterator[Image.Image]:
    """An opened picture of an allowed format and size, not decoded yet; faults inside become a UserError."""
    path = require_file(path, "picture", PICTURES)
    try:
        with Image.open(path, formats=PICTURE_FORMATS) as image:
            check_size(path, "picture", image.width, image.height, PICTURES)
            if image.mode in ("F", "LAB"):  # no agreed range, or one Pillow does not convert
                raise refusal(path, "picture", f"its colours are stored as {image.mode}", PICTURES)
            yield image
    except Image.DecompressionBombError as error:
        limit = f"{PICTURES} of at most {MAX_MEGAPIXELS} megapixels"
        raise refusal(path, "picture", "it is far too large", limit) from error
    except PICTURE_FAULTS as error:
        raise unreadable(path, "picture", PICTURES) from error


def is_soundfile(path: Path) -> bool:
    """Whether libsndfile reads this file (wav, flac, ogg, mp3, aiff); the others go through ffmpeg."""
    try:
        soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return False
    return True


def video_stream(container: InputContainer, path: Path) -> VideoStream:
    """The first stream of moving pictures; the cover of a sound file is not one."""
    streams = [one for one in container.streams.video if Disposition.attached_pic not in one.disposition]
    if not streams:
        raise refusal(path, "video", "it has no pictures", VIDEOS)
    return streams[0]


def _soundfile_facts(path: Path) -> tuple[bool, SoundFacts] | None:
    """Whether the samples are stored as floats, and the facts; None for what libsndfile does not read."""
    try:
        info = soundfile.info(str(path))
    except soundfile.LibsndfileError:
        return None
    facts = SoundFacts(seconds=info.frames / info.samplerate, rate=info.samplerate, channels=info.channels)
    return info.subtype in ("FLOAT", "DOUBLE"), facts


def _container_facts(path: Path) -> SoundFacts:
    with open_container(path, "sound", SOUNDS) as container:
        if not container.streams.audio:
            raise refusal(path, "sound", "it has no sound", SOUNDS)
        stream = container.streams.audio[0]
        first = next(container.decode(stream), None)
        if first is None:
            raise refusal(path, "sound", "it has no samples", SOUNDS)
        seconds = _stream_seconds(container, stream) or _seconds_by_packets(container, stream)
        return SoundFacts(seconds=seconds, rate=first.sample_rate, channels=first.layout.nb_channels)


def _stream_seconds(container: InputContainer, stream: AudioStream | VideoStream) -> float:
    """Length by the header; 0 where it is not told (the container's own length may be another stream's)."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if len(container.streams) == 1 and container.duration is not None:
        return container.duration / 1e6
    return 0.0


def _seconds_by_packets(container: InputContainer, stream: AudioStream) -> float:
    container.seek(0)
    ticks = sum(packet.duration or 0 for packet in container.demux(stream))
    return float(ticks * stream.time_base) if stream.time_base is not None else 0.0


def _count_packets(container: InputContainer, stream: VideoStream) -> int:
    """Frames by the sample table of an mp4, else by reading the stream: avi counts empty frames, mkv none."""
    if stream.frames and "mp4" in container.format.name:
        return stream.frames
    container.seek(0)
    return sum(1 for packet in container.demux(stream) if packet.size)


def _check_finite(path: Path) -> None:
    """Float files may hold NaN or infinity, which would turn the whole video black."""
    block: np.ndarray[Any, np.dtype[np.float32]]
    for block in soundfile.blocks(str(path), blocksize=1 << 20, dtype="float32"):
        if not np.isfinite(block).all():
            raise refusal(path, "sound", "it holds samples that are not numbers (NaN or infinite)", SOUNDS)
