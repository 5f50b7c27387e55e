"""Frames as a piece of video, coded as every window and so every finished file is. Loads no torch."""

import os
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt

from wanvideo.media.ffmpeg import REPRODUCIBLE, feed_ffmpeg
from wanvideo.media.probe import probe_video

Frames = npt.NDArray[np.uint8]  # one frame (H, W, 3), or several (f, H, W, 3)

# Visually lossless, since the final file is a stream copy. No B-frames: a segment then starts at time zero
# without an edit list, and segments join with exact times.
_H264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "16", "-bf", "0", "-pix_fmt", "yuv420p")
# ffmpeg would convert by BT.601 and leave the file untagged, which players take for BT.709.
_COLOUR = (
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+bitexact"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
)


def write_segment(pieces: Iterable[Frames], path: Path, *, fps: float) -> None:
    """Frames as a video-only mp4 of exactly as many. H and W must be even (4:2:0 colour).

    `pieces` come in order, each a frame (H, W, 3) or several (f, H, W, 3), so an array (F, H, W, 3) will do;
    one is in memory at a time. Raises UserError when the disk is full, RuntimeError when the file does not
    hold the frames.
    """
    rest = iter(pieces)
    first = next(rest, None)
    if first is None:
        raise ValueError("frames must be uint8 (f, H, W, 3), got none")
    height, width = first.shape[-3:-1]
    rate = frame_rate(fps)
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(rate)]
    target = ["-video_track_timescale", time_scale(fps), "-f", "mp4", f"file:{path.absolute()}"]
    command = [*source, "-i", "pipe:0", *_COLOUR, *_H264, *REPRODUCIBLE, *target]
    count = feed_ffmpeg(command, _pixels(chain([first], rest), (height, width))) // (height * width * 3)
    written = probe_video(path).frames
    if written != count:
        raise RuntimeError(f"segment {path.name} holds {written} frames instead of {count}")
    flush(path)


def _pixels(pieces: Iterable[Frames], size: tuple[int, int]) -> Iterator[memoryview]:
    """The bytes of each piece, all of `size` (height, width)."""
    odd = any(edge % 2 for edge in size)
    for piece in pieces:
        if odd or piece.dtype != np.uint8 or piece.shape[-3:] != (*size, 3) or not piece.size:
            found = f"{piece.dtype} {piece.shape}"
            raise ValueError(f"frames must be uint8 (f, H, W, 3) of one even size, got {found}")
        yield np.ascontiguousarray(piece).data.cast("B")


def frame_rate(fps: float) -> Fraction:
    """`fps` as the fraction a file stores: 25 -> 25/1, 29.97 -> 2997/100, 24000/1001 -> itself."""
    return Fraction(fps).limit_denominator(1001)


def time_scale(fps: float) -> str:
    """Ticks a second for a track: a multiple of the rate keeps the time of every frame exact."""
    return str(frame_rate(fps).numerator * 512)


def flush(path: Path) -> None:
    """Onto the disk itself: after a power cut a renamed file must not turn out empty."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
