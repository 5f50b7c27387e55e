"""What a step cache is, as plain data: its row of the table, and what a plan says of the one that runs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from wanvideo.options import NO_STEP_CACHE

if TYPE_CHECKING:
    from torch import Tensor

    from wanvideo.models.block_reuse import Reuse
    from wanvideo.models.transformer import WanTransformer


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCachePlan:
    """What runs: `name` of a row, or NO_STEP_CACHE; its `threshold`, 0 without one. `model` is a key of
    `published.MODELS`, empty for a model that nothing is published of.
    """

    name: str = NO_STEP_CACHE
    threshold: float = 0.0
    model: str = ""

    @property
    def is_on(self) -> bool:
        """Whether any step may be left out."""
        return self.name != NO_STEP_CACHE

    def effective(self) -> dict[str, str | float]:
        """What runs, under the names of the options."""
        threshold = {"step_cache_threshold": self.threshold} if self.is_on else {}
        return {"step_cache": self.name, **threshold}


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """The steps of a window: `run`, a slice of the `total` of the schedule.

    In the `fresh` ones the model is another than in the step before (strengths of LoRAs): what an earlier
    step computed does not hold there.
    """

    run: range
    total: int
    fresh: frozenset[int] = frozenset()

    def must_compute(self, step: int) -> bool:
        """The first and the last, whatever a cache says, and the fresh ones."""
        return step in (self.run[0], self.run[-1]) or step in self.fresh


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheForecast:
    """What a job's memory and time depend on. In units of one state (tokens, dim): `kept` for each pass of a
    step, `passing` once, while a pass decides. `skipped`: steps that are known to be left out, counted from 0
    in the window.
    """

    kept: int = 0
    passing: int = 0
    skipped: frozenset[int] = frozenset()


ReuseMaker: TypeAlias = Callable[[], "Reuse"]
Opening: TypeAlias = Callable[[StepCachePlan, Steps, "WanTransformer", "Tensor"], ReuseMaker]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCache:
    """A method. `threshold(model)` is the published default. `kept` and `passing` as in `CacheForecast`.

    `opens` is asked at the beginning of a window, with the timesteps (total,) of the whole schedule on the
    model's device; what it returns makes the state of one guidance branch. `known` tells which of the steps
    are computed where that is known without the model, else None. `remark` says what differs from what is
    published, for a model.
    """

    name: str
    label: str
    threshold: Callable[[str], float]
    opens: Opening
    kept: int
    passing: int = 0
    known: Callable[[StepCachePlan, Steps], tuple[bool, ...] | None] = lambda _plan, _steps: None
    remark: Callable[[str], str | None] = lambda _: None
