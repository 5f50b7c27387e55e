"""Frames of a source video by time: any frame rate, also a varying one, read as if it were the talk's."""

from collections import deque
from collections.abc import Iterator
from fractions import Fraction
from math import inf
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.filter import Graph
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from wanvideo.media.input_file import VIDEOS, open_container, refusal, require_file
from wanvideo.media.probe import video_stream

Frame = npt.NDArray[np.uint8]  # (height, width, 3)

_ROUNDED = "flags=bicubic+accurate_rnd+full_chroma_int"
_EARLIER = 1.0  # seconds: key frames of some files lie a little after the time their index tells


def read_frames(path: str | Path, fps: float = 25.0) -> Iterator[Frame]:
    """Every frame at `fps`, the right way up: number k is the source frame nearest to k / fps seconds.

    Of two equally near ones the earlier. Holds one frame at a time, whatever the length. Raises UserError for
    a file that is no video.
    """
    path = require_file(path, "video", VIDEOS)
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        number, held, seconds = 0, None, 0.0
        for next_seconds, frame in _timed(container, stream):
            while held is not None and number / fps <= (seconds + next_seconds) / 2:
                yield held
                number += 1
            held, seconds = _pixels(frame), next_seconds
        if held is None:
            raise refusal(path, "video", "it has no frames", VIDEOS)
        end = seconds + 1 / _rate(stream)  # the last frame is shown for one frame's time
        while number == 0 or (number + 0.5) / fps <= end + 1e-6:
            yield held
            number += 1


def read_frame_at(path: str | Path, number: int, fps: float = 25.0) -> Frame:
    """Frame `number` of `read_frames`, found by seeking; past the end the last frame. Same errors."""
    path = require_file(path, "video", VIDEOS)
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        wanted = number / fps
        late, frame = _nearest(container, stream, max(0.0, wanted - _EARLIER), wanted)
        if frame is None or late:  # the seek landed too late or nowhere: read from the start
            frame = _nearest(container, stream, 0.0, wanted)[1]
        if frame is None:
            raise refusal(path, "video", "it has no frames", VIDEOS)
        return _pixels(frame)


def read_last_frames(path: str | Path, count: int, end: float | None = None) -> list[Frame]:
    """The last `count` frames before `end` seconds, or before the file's own end, or all that there are, the
    right way up. Same errors.
    """
    path = require_file(path, "video", VIDEOS)
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        whole = float((stream.duration or 0) * (stream.time_base or 0))
        start = max(0.0, (whole if end is None else end) - count / _rate(stream) - _EARLIER)
        last = deque(_frames_before(container, stream, start, end), maxlen=count)
        if len(last) < count:  # the seek landed too late
            last = deque(_frames_before(container, stream, 0.0, end), maxlen=count)
        if not last:
            raise refusal(path, "video", "it has no frames", VIDEOS)
        return [_pixels(frame) for frame in last]


def _frames_before(
    container: InputContainer, stream: VideoStream, start: float, end: float | None
) -> Iterator[VideoFrame]:
    """From the key frame before `start` seconds on; a frame that lies at `end` is left out."""
    limit = inf if end is None else end - 0.5 / _rate(stream)
    for seconds, frame in _timed(container, stream, start):
        if seconds >= limit:
            return
        yield frame


def _nearest(
    container: InputContainer, stream: VideoStream, start: float, wanted: float
) -> tuple[bool, VideoFrame | None]:
    """The frame nearest to `wanted` seconds from `start` on; first, whether all that was read lies later."""
    best, best_seconds, late = None, 0.0, False
    for seconds, frame in _timed(container, stream, start):
        if best is None:
            late = seconds > wanted
        elif wanted <= (best_seconds + seconds) / 2:
            break
        best, best_seconds = frame, seconds
    return late, best


def _timed(
    container: InputContainer, stream: VideoStream, start: float = 0.0
) -> Iterator[tuple[float, VideoFrame]]:
    """Decoded frames with their seconds since the first frame, from the key frame before `start` on."""
    if not stream.codec_context.is_open:
        stream.thread_type = "AUTO"
    tick = stream.time_base or 1 / Fraction(_rate(stream))
    first = stream.start_time or 0
    container.seek(first + int(start / tick), stream=stream)
    for count, frame in enumerate(container.decode(stream)):
        yield float((frame.pts - first) * tick) if frame.pts is not None else count / _rate(stream), frame


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _pixels(frame: VideoFrame) -> Frame:
    """RGB of one frame; telephones store the turn of the camera beside the pixels.

    Through a filter, for its flags: PyAV's own conversion rounds down, and a video that goes on from its
    frames would darken by a level or two each time.
    """
    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
    )
    scale, form, sink = graph.add("scale", _ROUNDED), graph.add("format", "rgb24"), graph.add("buffersink")
    graph.link_nodes(source, scale, form, sink).configure()
    graph.push(frame)
    rgb = graph.pull()
    assert isinstance(rgb, VideoFrame)
    return np.ascontiguousarray(np.rot90(rgb.to_ndarray(), round(frame.rotation / 90) % 4))
