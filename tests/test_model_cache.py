"""The model cache: what is kept, what makes room, what the log says."""

import logging
from contextlib import ExitStack
from typing import Any

import pytest
from torch import nn

from wanvideo.model_cache import ModelCache

BYTES = 400  # of one model: 100 fp32 weights


def build() -> nn.Module:
    return nn.Linear(10, 10, bias=False)


def use(cache: ModelCache, *keys: Any) -> list[nn.Module]:
    """Borrow one after the other."""
    lent = []
    for key in keys:
        with cache.use(f"model {key}", key, build) as model:
            lent.append(model)
    return lent


def forbidden() -> nn.Module:
    raise AssertionError("the model should have been there")


def test_a_model_is_built_once_per_key() -> None:
    cache = ModelCache()
    first, other, again = use(cache, "a", "b", "a")
    assert first is again
    assert first is not other
    assert cache.bytes == 2 * BYTES


def test_the_longest_unused_makes_room() -> None:
    cache = ModelCache(budget_bytes=2 * BYTES)
    a, _, _, _ = use(cache, "a", "b", "a", "c")
    assert cache.bytes == 2 * BYTES
    with cache.use("a", "a", forbidden) as model:
        assert model is a
    with pytest.raises(AssertionError), cache.use("b", "b", forbidden):
        pass


def test_without_a_budget_all_are_kept() -> None:
    cache = ModelCache()
    use(cache, *range(20))
    assert cache.bytes == 20 * BYTES


def test_one_model_is_kept_even_over_the_budget() -> None:
    cache = ModelCache(budget_bytes=1)
    use(cache, "a", "b")
    assert cache.bytes == BYTES
    with cache.use("b", "b", forbidden):
        pass


def test_lent_models_stay() -> None:
    cache = ModelCache(budget_bytes=BYTES)
    with ExitStack() as stack:
        lent = [stack.enter_context(cache.use(key, key, build)) for key in ("a", "b", "c")]
        use(cache, "d")
        cache.unload()
        assert cache.bytes == 3 * BYTES
        for key, model in zip("abc", lent, strict=True):
            with cache.use(key, key, forbidden) as again:
                assert again is model
    assert cache.bytes == BYTES


def test_a_model_lent_twice_stays_until_the_last_return() -> None:
    cache = ModelCache()
    with cache.use("a", "a", build):
        use(cache, "a")
        cache.unload()
        assert cache.bytes == BYTES
    cache.unload()
    assert cache.bytes == 0


def test_a_model_returns_when_its_user_fails() -> None:
    cache = ModelCache()
    with pytest.raises(KeyError), cache.use("a", "a", build):
        raise KeyError
    cache.unload()
    assert cache.bytes == 0


def test_a_failed_build_leaves_nothing() -> None:
    cache = ModelCache()
    with pytest.raises(AssertionError), cache.use("a", "a", forbidden):
        pass
    assert cache.bytes == 0
    use(cache, "a")


def test_log_lines_people_know(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="wanvideo.model_cache"):
        use(ModelCache(), "a")
        cache = ModelCache()
        use(cache, "b", "b")
    lines = caplog.messages
    assert lines[0] == "[LOAD] Loading model a..."
    assert lines[1].startswith("[CACHE] model a cached (") and lines[1].endswith(" s)")
    assert lines[-1] == "[CACHE] Using cached model b"


def test_a_model_that_is_not_kept_is_dropped_when_the_last_borrower_returns_it() -> None:
    cache = ModelCache()
    with cache.use("a", "a", build, keep=False):
        with cache.use("a", "a", forbidden, keep=False):
            pass
        assert cache.bytes == BYTES
    assert cache.bytes == 0
