"""From decoded pieces to the frames of a window and what the next one continues."""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from wanvideo.conditioning import JobInputs
from wanvideo.media.color import match_colors
from wanvideo.media.pictures import to_frames
from wanvideo.media.segments import Frames
from wanvideo.plan import GenerationPlan
from wanvideo.quality.frames import QUALITY, FrameWatch, is_flat, with_window
from wanvideo.quality.guard import DECODED, NAN, BrokenOutput
from wanvideo.stage_clock import StageClock
from wanvideo.windows import Window

MOTION = "motion"  # in the state of a window, beside QUALITY


class DecodedWindow:
    """The decoded pieces of a window on their way to its file; they are measured as they pass, and what the
    next window continues is kept.
    """

    def __init__(
        self,
        plan: GenerationPlan,
        window: Window,
        inputs: JobInputs,
        clock: StageClock,
        before: Mapping[str, Tensor],
    ) -> None:
        """`before`: the `state` of the window before, empty for the first."""
        self._plan = plan
        self._window = window
        self._inputs = inputs
        self._clock = clock
        self._reference = inputs.colour_reference if plan.request.color_correction else None
        self._measured = before.get(QUALITY)
        last = before[MOTION][:, -1:] if MOTION in before else None
        self._watch = FrameWatch(inputs.colour_reference, last)
        self._motion: list[Tensor] = []

    def frames(self, pieces: Iterator[Tensor]) -> Iterator[Frames]:
        """The new frames (f, H, W, 3) in `pieces` (3, f, H, W) of the whole window; talk is pulled to the
        colours of its picture before motion frames are taken. The stage "save" begins after the last. Raises
        BrokenOutput when they are no pictures.
        """
        window, done = self._window, 0
        first_motion = window.frames - self._plan.settings.motion_frames
        for piece in pieces:
            matched = self._matched(piece)
            self._motion.append(matched[:, max(0, first_motion - done) :].cpu())
            new = matched[:, max(0, window.skip - done) : max(0, window.skip + window.keep - done)]
            done += piece.shape[1]
            if new.shape[1]:
                self._watch.look(new)
                yield to_frames(new)
        fault = self._watch.fault()
        if fault and (fault == NAN or not self._may_be_flat()):
            raise BrokenOutput(fault, DECODED)
        self._clock.enter("save")

    def state(self) -> dict[str, Tensor]:
        """Once all pieces have passed: the last pixels of the window, fp32, and the figures of all windows so
        far.
        """
        figures = with_window(self._measured, self._window.index, self._watch.figures())
        return {MOTION: torch.cat(self._motion, dim=1), QUALITY: figures}

    def _may_be_flat(self) -> bool:
        """Whether the source itself is black or one colour."""
        still = self._inputs.still
        picture = self._inputs.colour_reference if still is None else still.picture
        return picture is not None and is_flat(picture)

    def _matched(self, piece: Tensor) -> Tensor:
        if self._reference is None:
            return piece
        return match_colors(piece, self._reference.to(piece.device), self._plan.request.color_correction)
