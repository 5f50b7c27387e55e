"""The finished windows of a job on disk: each a closed piece of video and the state the next one needs.

Stop, crash, resume and the video so far all read the same files.
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from wanvideo.media.encoding import Frames as Frames
from wanvideo.media.encoding import flush
from wanvideo.media.encoding import write_segment as write_segment
from wanvideo.media.ffmpeg import disk_error

Tensors = Mapping[str, torch.Tensor]

_PARTIAL = "partial_"


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


def _write_state(state: Mapping[str, torch.Tensor], path: Path) -> None:
    save_file({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}, str(path))
    flush(path)
