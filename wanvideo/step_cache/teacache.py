"""TeaCache (arXiv 2411.19108): a step is computed once the embedding of the timestep has changed enough since
the last one that was.

The relative L1 change of the embedding from step to step goes through a polynomial that its authors fitted
to how much the output of each published model changes, and is added up (their TeaCache4Wan2.1). The embedding
depends on the timestep alone, so all steps of a window are decided at its beginning: one small vector is read
from the device then, and none in the loop. Every branch and window is decided alike.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from wanvideo.step_cache.published import I2V_480, I2V_720, T2V, T2V_SMALL
from wanvideo.step_cache.row import ReuseMaker, StepCache, StepCachePlan, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from wanvideo.models.transformer import WanTransformer

# Coefficients for the time embedding, the highest power first, and the middle one of the three thresholds
# that the authors name for each model.
_PUBLISHED: Mapping[str, tuple[tuple[float, ...], float]] = {
    T2V_SMALL: ((2396.76752, -1311.10545, 201.331979, -8.29855975, 0.137887774), 0.07),
    T2V: ((-5784.54975374, 5449.50911966, -1811.16591783, 256.27178429, -13.02252404), 0.15),
    I2V_480: ((-302.331670, 223.948934, -52.5463970, 5.87348440, -0.201973289), 0.19),
    I2V_720: ((-114.36346466, 65.26524496, -18.82220707, 4.91518089, -0.23412683), 0.2),
}
_IDENTITY = (1.0, 0.0)
_PLAIN_THRESHOLD = 0.2  # the authors' default where they fitted nothing


def computed_steps(
    changes: Sequence[float], coefficients: Sequence[float], threshold: float, steps: Steps
) -> dict[int, bool]:
    """Step -> whether it is computed. `changes`: relative change of the embedding into each step of
    `steps.run`; the first is not looked at.
    """
    computed, total = {}, 0.0
    for step, change in zip(steps.run, changes, strict=True):
        total += _polynomial(coefficients, change)
        computed[step] = steps.must_compute(step) or threshold == 0 or total >= threshold
        if computed[step]:
            total = 0.0
    return computed


def _polynomial(coefficients: Sequence[float], value: float) -> float:
    result = 0.0
    for coefficient in coefficients:
        result = result * value + coefficient
    return result


def _figures(model: str) -> tuple[tuple[float, ...], float]:
    return _PUBLISHED.get(model, (_IDENTITY, _PLAIN_THRESHOLD))


def _open(
    plan: StepCachePlan, steps: Steps, transformer: "WanTransformer", timesteps: "Tensor"
) -> ReuseMaker:
    from wanvideo.step_cache.reuse import Scheduled

    embedded = transformer.embed_timesteps(timesteps[steps.run.start : steps.run.stop])  # (steps, dim)
    sizes = embedded.abs().mean(dim=1)
    changes = embedded.diff(dim=0).abs().mean(dim=1) / sizes[:-1]
    computed = computed_steps([0.0, *changes.tolist()], _figures(plan.model)[0], plan.threshold, steps)
    return lambda: Scheduled(computed)


def _remark(model: str) -> str | None:
    return None if model in _PUBLISHED else "its authors fitted no polynomial to this model, none is used"


TEACACHE = StepCache(
    name="teacache",
    label="TeaCache",
    threshold=lambda model: _figures(model)[1],
    opens=_open,
    kept=1,
    remark=_remark,
)
