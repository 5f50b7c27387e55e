"""The step caches there are: a row for each value of the option but NO_STEP_CACHE."""

from collections.abc import Mapping

from wanvideo.step_cache.first_block import FIRST_BLOCK
from wanvideo.step_cache.magcache import MAGCACHE
from wanvideo.step_cache.row import StepCache
from wanvideo.step_cache.teacache import TEACACHE

_ROWS = (TEACACHE, MAGCACHE, FIRST_BLOCK)


def step_caches() -> Mapping[str, StepCache]:
    """name -> row."""
    return {row.name: row for row in _ROWS}
