"""Output that is no picture: found while a window is made, without waiting for the GPU."""

from collections.abc import Sequence

import torch
from torch import Tensor

NAN = "NaN"  # the one fault that no source picture excuses
DECODED = "after decoding"  # the one place that is the VAE's
LEAST_SPREAD = 1e-3  # of some channel of normalised latents; those of a picture spread by about 1


class BrokenOutput(Exception):
    """A window is no video: `what` was made ("NaN"), `where` ("in step 2")."""

    def __init__(self, what: str, where: str) -> None:
        self.what, self.where = what, where
        super().__init__(f"the model made {what} {where}")


class LatentGuard:
    """Looks at the estimates of the first two steps, and at what the last one leaves. What is measured is
    copied off the GPU without waiting and read a step later, or as soon as it has arrived.
    """

    def __init__(self, steps: Sequence[int]) -> None:
        """`steps`: the indices of the window's steps, in order."""
        self._watched = {index: f"in step {place + 1}" for place, index in enumerate(steps[:2])}
        self._pending: list[tuple[str, Tensor, torch.cuda.Event | None]] = []

    def push(self, index: int, estimate: Tensor) -> None:
        """The estimate (1, channels, frames, h, w) after step `index`. Raises BrokenOutput for an earlier
        one.
        """
        self._read(wait=False)
        if index in self._watched:
            self._send(self._watched[index], estimate)

    def finish(self, latents: Tensor) -> None:
        """The latents after the last step; waits for what has not arrived. Raises BrokenOutput."""
        self._send("in the last step", latents)
        self._read(wait=True)

    def _send(self, where: str, latents: Tensor) -> None:
        spread = latents.float().std(dim=(0, 2, 3, 4)).amax()
        figures = torch.stack([latents.isfinite().all().float(), spread])
        arrived = torch.cuda.Event() if figures.is_cuda else None
        # This copy takes page-locked memory by itself.
        self._pending.append((where, figures.to("cpu", non_blocking=True), arrived))
        if arrived is not None:
            arrived.record()

    def _read(self, *, wait: bool) -> None:
        while self._pending:
            where, figures, arrived = self._pending[0]
            if arrived is not None and wait:
                arrived.synchronize()
            elif arrived is not None and not arrived.query():
                return
            del self._pending[0]
            finite, spread = figures.tolist()
            if not finite or spread < LEAST_SPREAD:
                what = NAN if not finite else "latents of one value"
                raise BrokenOutput(what, where)
