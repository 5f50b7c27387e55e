"""MagCache (arXiv 2506.09045): what the blocks add to the tokens shrinks from step to step by about the same
ratio for every prompt, so the ratios of a model tell how far an earlier step's is off.

An estimate of the error is added up over the steps that are left out: the distance from 1 of the product of
their ratios. All steps of a job are therefore decided before it begins, for every branch and window alike,
and nothing is read from the device. The first fifth of the schedule is always computed, and so is one step
of three.
"""

from typing import TYPE_CHECKING

from wanvideo.step_cache.magnitudes import MAGNITUDES
from wanvideo.step_cache.published import T2V_SMALL
from wanvideo.step_cache.row import ReuseMaker, StepCache, StepCachePlan, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from wanvideo.models.transformer import WanTransformer

_THRESHOLD, _MOST_SKIPPED, _RETAINED = 0.12, 2, 0.2  # the authors' defaults for Wan 2.1
_INSTEAD = T2V_SMALL  # for a model that nothing was measured of: the law is said to be that of all


def ratios(model: str, total: int) -> tuple[float, ...]:
    """A ratio for each step of a schedule of `total`: the nearest that was measured, as the authors do it."""
    measured = (1.0, *MAGNITUDES[model or _INSTEAD])
    stride = (len(measured) - 1) / max(1, total - 1)
    return tuple(measured[round(step * stride)] for step in range(total))


def computed_steps(plan: StepCachePlan, steps: Steps) -> dict[int, bool]:
    """Step -> whether it is computed."""
    shrinks, first = ratios(plan.model, steps.total), int(_RETAINED * steps.total)
    computed: dict[int, bool] = {}
    product, error, skipped = 1.0, 0.0, 0
    for step in steps.run:
        computed[step] = True
        if not steps.must_compute(step) and step >= first:
            product *= shrinks[step]
            error, skipped = error + abs(1 - product), skipped + 1
            computed[step] = error >= plan.threshold or skipped > _MOST_SKIPPED
        if computed[step]:
            product, error, skipped = 1.0, 0.0, 0
    return computed


def _known(plan: StepCachePlan, steps: Steps) -> tuple[bool, ...]:
    return tuple(computed_steps(plan, steps).values())


def _open(
    plan: StepCachePlan, steps: Steps, _transformer: "WanTransformer", _timesteps: "Tensor"
) -> ReuseMaker:
    from wanvideo.step_cache.reuse import Scheduled

    computed = computed_steps(plan, steps)
    return lambda: Scheduled(computed)


def _remark(model: str) -> str | None:
    if model:
        return None
    return f"its authors measured no magnitudes of this model, those of {_INSTEAD} are used"


MAGCACHE = StepCache(
    name="magcache",
    label="MagCache",
    threshold=lambda _: _THRESHOLD,
    opens=_open,
    kept=1,
    known=_known,
    remark=_remark,
)
