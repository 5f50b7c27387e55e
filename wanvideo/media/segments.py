"""The finished windows of a job on disk: each a closed piece of video and the state the next one needs.

Stop, crash, resume and the video so far all read the same files.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file

from wanvideo.media.ffmpeg import REPRODUCIBLE, disk_error, feed_ffmpeg
from wanvideo.media.probe import probe_video

Frames = npt.NDArray[np.uint8]  # one frame (H, W, 3), or several (f, H, W, 3)
Tensors = Mapping[str, torch.Tensor]

_PARTIAL = "partial_"

# Visually lossless, since the final file is a stream copy. No B-frames: a segment then starts at time zero
# without an edit list, and segments join with exact times.
_H264 = ("-c:v", "libx264", "-preset", "medium", "-crf", "16", "-bf", "0", "-pix_fmt", "yuv420p")
# ffmpeg would convert by BT.601 and leave the file untagged, which players take for BT.709.
_COLOUR = (
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd+full_chroma_int+bitexact"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
)


class JobFolder:
    """A folder with `window_0000.mp4` (at `fps`) and `window_0000.safetensors` per finished window."""

    def __init__(self, path: str | Path, *, fps: float) -> None:
        self.path = Path(path)
        self.fps = fps

    def append(self, index: int, pieces: Iterable[Frames], state: Tensors | Callable[[], Tensors]) -> None:
        """Stores window `index`: its frames, written as they come, and the tensors the next one starts from.

        `pieces` as in `write_segment`; `state` may be a function that is asked after the last piece. `index`
        is at most `finished()`; writing an earlier window again drops it and all later ones. The video takes
        its final name last, so an interruption or an error of `pieces` leaves the window either finished or
        absent.
        """
        if not 0 <= index <= self.finished():
            raise ValueError(f"window {index} cannot follow {self.finished()} finished windows")
        segment, tensors = self._segment(index), self._state(index)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._drop_partial()
            self._drop_from(index)
            write_segment(pieces, self._partial(segment), fps=self.fps)
            _write_state(state() if callable(state) else state, self._partial(tensors))
            self._partial(tensors).replace(tensors)
            self._partial(segment).replace(segment)
        except OSError as error:
            raise disk_error(error) from error
        finally:
            self._drop_partial()

    def finished(self) -> int:
        """How many windows from the first on are complete."""
        index = 0
        while self._segment(index).is_file() and self._state(index).is_file():
            index += 1
        return index

    def load_state(self, index: int) -> dict[str, torch.Tensor]:
        """The tensors stored with a finished window, on the CPU. ValueError when it is not finished."""
        if not 0 <= index < self.finished():
            raise ValueError(f"window {index} is not finished, only {self.finished()} are")
        # copies: a tensor that maps the file would keep it from being deleted on Windows
        return {name: tensor.clone() for name, tensor in load_file(str(self._state(index))).items()}

    def segments(self) -> list[Path]:
        """The video files of the finished windows, in order."""
        return [self._segment(index) for index in range(self.finished())]

    def _segment(self, index: int) -> Path:
        return self.path / f"window_{index:04d}.mp4"

    def _state(self, index: int) -> Path:
        return self.path / f"window_{index:04d}.safetensors"

    def _partial(self, path: Path) -> Path:
        return path.with_name(_PARTIAL + path.name)

    def _drop_partial(self) -> None:
        # Also what an earlier run left when it was cut off; only the one writer of a job calls this.
        for leftover in self.path.glob(f"{_PARTIAL}*"):
            leftover.unlink(missing_ok=True)

    def _drop_from(self, index: int) -> None:
        # Latest first: were this cut off, the rest would still be an unbroken row.
        for path in sorted(self.path.glob("window_*.mp4"), reverse=True):
            if path.name >= self._segment(index).name:
                path.unlink()


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
    # A time scale that is a multiple of the rate keeps the time of every frame exact.
    target = ["-video_track_timescale", str(rate.numerator * 512), "-f", "mp4", f"file:{path.absolute()}"]
    command = [*source, "-i", "pipe:0", *_COLOUR, *_H264, *REPRODUCIBLE, *target]
    count = feed_ffmpeg(command, _pixels(chain([first], rest), (height, width))) // (height * width * 3)
    written = probe_video(path).frames
    if written != count:
        raise RuntimeError(f"segment {path.name} holds {written} frames instead of {count}")
    _flush(path)


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


def _write_state(state: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, str(path))
    _flush(path)


def _flush(path: Path) -> None:
    """Onto the disk itself: after a power cut a renamed file must not turn out empty."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
