"""First-block cache (ParaAttention; FirstBlockCacheConfig of diffusers): the first block always runs, and
what it adds tells whether the others have to.

They run when the mean absolute difference from what it added in the last computed step is at least the
threshold, relative to that step's. This is about the very step that waits for it: each pass of each step
reads one number from the device.
"""

from typing import TYPE_CHECKING

from wanvideo.step_cache.row import ReuseMaker, StepCache, StepCachePlan, Steps

if TYPE_CHECKING:
    from torch import Tensor

    from wanvideo.models.transformer import WanTransformer

_THRESHOLD = 0.05  # the default of diffusers


def _open(
    plan: StepCachePlan, steps: Steps, _transformer: "WanTransformer", _timesteps: "Tensor"
) -> ReuseMaker:
    from wanvideo.step_cache.first_block_reuse import FirstBlock

    return lambda: FirstBlock(plan.threshold, steps)


FIRST_BLOCK = StepCache(
    name="first_block",
    label="First block",
    threshold=lambda _: _THRESHOLD,
    opens=_open,
    kept=2,
    passing=1,
)
