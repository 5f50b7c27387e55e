"""The state of one guidance branch in one window: what it keeps of the last step that it computed."""

from torch import Tensor


class Residual:
    """Keeps what the blocks added to the tokens, in the tokens' own dtype: one tensor (1, tokens, dim).

    See `models.block_reuse.Reuse`. `step` is set before each pass.
    """

    lead = 0

    def __init__(self) -> None:
        self.step = -1
        self.passes = self.computed = 0
        self._added: Tensor | None = None
        self._runs = True

    def enter(self, x: Tensor) -> None:
        """Nothing is needed of the tokens before the first block."""

    def computes(self, x: Tensor) -> bool:
        """See `Reuse`; keeps a copy of the tokens if the blocks run, which may write them over."""
        self._runs = self._added is None or self._must_run()
        self.passes += 1
        self.computed += self._runs
        if self._runs:
            self._started()
            self._added = x.clone() if self._added is None else self._added.copy_(x)
        return self._runs

    def leave(self, x: Tensor) -> Tensor:
        """See `Reuse`. A pass that ran gives its tokens back untouched."""
        assert self._added is not None
        if not self._runs:
            return x.add_(self._added)
        self._added = minus(x, self._added)
        return x

    def _must_run(self) -> bool:
        """Whether what is kept does not hold for this step."""
        raise NotImplementedError

    def _started(self) -> None:
        """The blocks are about to run."""


class Scheduled(Residual):
    """Steps that are computed are known before the first: nothing is read from the device."""

    def __init__(self, computed_at: dict[int, bool]) -> None:
        """`computed_at`: step of the schedule -> whether it is computed."""
        super().__init__()
        self._computed_at = computed_at
        self._of_step = -1

    def _must_run(self) -> bool:
        """A branch that took no part in the last computed step (guidance may be 1 in some steps) has nothing
        of that step to go on with.
        """
        earlier = [step for step, computes in self._computed_at.items() if computes and step <= self.step]
        return self._computed_at[self.step] or self._of_step < max(earlier)

    def _started(self) -> None:
        self._of_step = self.step


def minus(x: Tensor, start: Tensor) -> Tensor:
    """`x` - `start`, in the place of `start`."""
    return start.neg_().add_(x)
