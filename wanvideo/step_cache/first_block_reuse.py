"""The state of one guidance branch under the first-block cache."""

from torch import Tensor

from wanvideo.step_cache.reuse import Residual, minus
from wanvideo.step_cache.row import Steps


class FirstBlock(Residual):
    """Keeps what the first block added, too: one more tensor (1, tokens, dim)."""

    lead = 1

    def __init__(self, threshold: float, steps: Steps) -> None:
        super().__init__()
        self._threshold, self._steps = threshold, steps
        self._led: Tensor | None = None  # what the first block added in the last computed step
        self._entered: Tensor | None = None  # the tokens before it; then what it added

    def enter(self, x: Tensor) -> None:
        """A copy: in chunks a block writes over what it is given."""
        self._entered = x.clone()

    def computes(self, x: Tensor) -> bool:
        """See `Reuse`."""
        assert self._entered is not None
        self._entered = minus(x, self._entered)
        runs = super().computes(x)
        self._entered = None
        return runs

    def _must_run(self) -> bool:
        if self._steps.must_compute(self.step) or self._threshold == 0:
            return True
        assert self._led is not None and self._entered is not None
        change = (self._entered - self._led).abs().mean() / self._led.abs().mean()
        return not change.item() < self._threshold  # NaN computes

    def _started(self) -> None:
        self._led = self._entered
