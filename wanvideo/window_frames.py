"""From decoded pieces to the frames of a window and what the next one continues."""

from collections.abc import Iterator

import torch
from torch import Tensor

from wanvideo.conditioning import JobInputs
from wanvideo.media.color import match_colors
from wanvideo.media.pictures import to_frames
from wanvideo.media.segments import Frames
from wanvideo.plan import GenerationPlan
from wanvideo.stage_clock import StageClock
from wanvideo.windows import Window


class DecodedWindow:
    """The decoded pieces of a window on their way to its file; what the next window continues is kept."""

    def __init__(self, plan: GenerationPlan, window: Window, inputs: JobInputs, clock: StageClock) -> None:
        self._plan = plan
        self._window = window
        self._clock = clock
        self._reference = inputs.colour_reference if plan.request.color_correction else None
        self._motion: list[Tensor] = []

    def frames(self, pieces: Iterator[Tensor]) -> Iterator[Frames]:
        """The new frames (f, H, W, 3) in `pieces` (3, f, H, W) of the whole window; talk is pulled to the
        colours of its picture before motion frames are taken. The stage "save" begins after the last.
        """
        window, done = self._window, 0
        first_motion = window.frames - self._plan.settings.motion_frames
        for piece in pieces:
            matched = self._matched(piece)
            self._motion.append(matched[:, max(0, first_motion - done) :].cpu())
            new = matched[:, max(0, window.skip - done) : max(0, window.skip + window.keep - done)]
            done += piece.shape[1]
            if new.shape[1]:
                yield to_frames(new)
        self._clock.enter("save")

    def state(self) -> dict[str, Tensor]:
        """The last pixels of the window, fp32, once all pieces have passed."""
        return {"motion": torch.cat(self._motion, dim=1)}

    def _matched(self, piece: Tensor) -> Tensor:
        if self._reference is None:
            return piece
        return match_colors(piece, self._reference.to(piece.device), self._plan.request.color_correction)
