"""Frames of a source video by time: a video of any (also varying) frame rate read as if it had the rate of the talk."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from wanvideo.media.input_file import VIDEOS, open_container, refusal, require_file
from wanvideo.media.probe import video_stream

Frame = npt.NDArray[np.uint8]  # (height, width, 3)

_EARLIER = 1.0  # seconds: key frames of some files lie a little after the time their index tells


def read_frames(path: str | Path, fps: float = 25.0) -> Iterator[Frame]:
    """Every frame at `fps`, the right way up: output k is the source frame nearest to k / fps seconds (the earlier of two).

    Holds two frames at a time, whatever the length. Raises UserError for a file that is no video.
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
    """Frame `number` of `read_frames`, found by seeking; past the end the last frame. Raises UserError like it."""
    path = require_file(path, "video", VIDEOS)
    with open_container(path, "video", VIDEOS) as container:
        stream = video_stream(container, path)
        wanted = number / fps
        before, frame = _nearest(container, stream, max(0.0, wanted - _EARLIER), wanted)
        if frame is None or (before and wanted > 0):  # the seek landed too late or nowhere: read from the start
            frame = _nearest(container, stream, 0.0, wanted)[1]
        if frame is None:
            raise refusal(path, "video", "it has no frames", VIDEOS)
        return _pixels(frame)


def _nearest(
    container: InputContainer, stream: VideoStream, start: float, wanted: float
) -> tuple[bool, VideoFrame | None]:
    """The frame nearest to `wanted` seconds read from `start` on, and whether the first frame read was already later."""
    best, best_seconds, late = None, 0.0, False
    for seconds, frame in _timed(container, stream, start):
        if best is None:
            late = seconds > wanted
        elif wanted <= (best_seconds + seconds) / 2:
            break
        best, best_seconds = frame, seconds
    return late, best


def _timed(container: InputContainer, stream: VideoStream, start: float = 0.0) -> Iterator[tuple[float, VideoFrame]]:
    """Decoded frames with their seconds since the first frame, from the key frame before `start` on."""
    stream.thread_type = "AUTO"
    origin = (stream.start_time or 0) * (stream.time_base or 0)
    if start > 0 and stream.time_base:
        container.seek(int((start + origin) / stream.time_base), stream=stream)
    else:
        container.seek(0)
    count = 0
    for frame in container.decode(stream):
        timed = frame.pts is not None and stream.time_base is not None
        yield float(frame.pts * stream.time_base - origin) if timed else count / _rate(stream), frame
        count += 1


def _rate(stream: VideoStream) -> float:
    return float(stream.average_rate or stream.guessed_rate or 25)


def _pixels(frame: VideoFrame) -> Frame:
    """RGB of one frame; telephones store the turn of the camera beside the pixels."""
    quarter_turns = round(frame.rotation / 90) % 4
    return np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), quarter_turns))
