"""Small pictures of a finished video at given times, for a strip of its windows. Loads no torch."""

from collections.abc import Sequence
from fractions import Fraction
from io import BytesIO
from pathlib import Path

from av.container import InputContainer
from av.video.stream import VideoStream
from PIL import Image

from wanvideo.media.input_file import VIDEOS, open_container, refusal
from wanvideo.media.probe import video_stream

QUALITY = 72


def small_pictures(path: str | Path, seconds: Sequence[float], edge: int) -> list[bytes]:
    """A JPEG of at most `edge` pixels a side for each time: the key frame there or before it, of which every
    window of a finished video has one as its first frame. Raises UserError for a file that is no video.
    """
    path = Path(path)
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        half = 0.5 / float(stream.average_rate or 25)  # a time that was rounded down still finds its frame
        return [_jpeg(_key_frame(container, stream, time + half, path), edge) for time in seconds]


def _key_frame(container: InputContainer, stream: VideoStream, time: float, path: Path) -> Image.Image:
    tick = stream.time_base or Fraction(1, 1000)
    container.seek((stream.start_time or 0) + int(time / tick), stream=stream)
    frame = next(container.decode(stream), None)
    if frame is None:
        raise refusal(path, "video", f"it has no frame at {time:.2f} seconds", VIDEOS)
    return Image.fromarray(frame.to_ndarray(format="rgb24"))


def _jpeg(picture: Image.Image, edge: int) -> bytes:
    picture.thumbnail((edge, edge))
    buffer = BytesIO()
    picture.save(buffer, format="JPEG", quality=QUALITY)
    return buffer.getvalue()
