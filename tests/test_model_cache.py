"""The model cache: what is kept, what moves, what makes room, what the log says.

The card is simulated: a tenant says where its weights are, and keeps book of what it was asked to do.
"""

import gc
import logging
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.plan_cases import CPU, GPU
from wanvideo.loan import Loan, Room, model_key
from wanvideo.memory_plan import SwapPlan
from wanvideo.model_cache import CachedModel, ModelCache, open_cache
from wanvideo.placement.residence import Residence

SIZE = 100  # bytes of one model, as the simulated card counts them
HALF = SwapPlan(blocks=1)  # half of a model stays in main memory
ON_CARD = Room(device_bytes=SIZE)
ON_HOST = Room(host_bytes=SIZE)
LENT = Loan(room=ON_CARD)
SWAPPED = Loan(room=ON_CARD, swap=HALF)


class Simulated:
    """A tenant of `SIZE` bytes that starts in main memory; one for the CPU stays there."""

    def __init__(self, size: int = SIZE, *, card: bool = True) -> None:
        self.model = nn.Linear(1, 1)
        self.size, self.device_bytes, self.card = size, 0, card
        self.events: list[str] = []

    @property
    def host_bytes(self) -> int:
        return self.size - self.device_bytes

    def retreat(self) -> None:
        self.events.append("retreat")
        self.device_bytes = 0

    def settle_again(self, swap: SwapPlan) -> None:
        self.events.append(f"settle {swap.blocks}")
        self.device_bytes = self.size * self.card // (1 + swap.blocks)

    @contextmanager
    def running(self, swap: SwapPlan) -> Iterator[nn.Module]:
        self.settle_again(swap)
        try:
            yield self.model
        finally:
            self.events.append("rest")


def forbidden() -> Simulated:
    raise AssertionError("the model should have been there")


def on_host() -> Simulated:
    return Simulated(card=False)


def use(
    cache: ModelCache, *keys: Any, build: Callable[[], Any] = Simulated, room: Room = ON_CARD
) -> list[nn.Module]:
    """Borrow one after the other."""
    lent = []
    for key in keys:
        with cache.use(f"model {key}", key, build, Loan(room=room)) as model:
            lent.append(model)
    return lent


def places(cache: ModelCache) -> dict[str, tuple[int, int]]:
    """Name -> (bytes on the card, bytes in main memory)."""
    return {
        model.name.removeprefix("model "): (model.device_bytes, model.host_bytes)
        for model in cache.contents()
    }


def test_a_model_is_built_once_per_key() -> None:
    cache = ModelCache()
    first, other, again = use(cache, "a", "b", "a")
    assert first is again and first is not other
    assert cache.bytes == 2 * SIZE


def test_the_longest_unused_leaves_the_card_and_comes_back_without_loading() -> None:
    cache = ModelCache(2 * SIZE)
    use(cache, "a", "b", "a", "c")
    assert places(cache) == {"b": (0, SIZE), "a": (SIZE, 0), "c": (SIZE, 0)}
    use(cache, "b", build=forbidden)
    assert places(cache) == {"a": (0, SIZE), "c": (SIZE, 0), "b": (SIZE, 0)}


def test_only_as_many_leave_as_must() -> None:
    cache = ModelCache(3 * SIZE)
    use(cache, "a", "b", "c")
    use(cache, "d", room=Room(device_bytes=SIZE, working_bytes=1))
    assert places(cache) == {"a": (0, SIZE), "b": (0, SIZE), "c": (SIZE, 0), "d": (SIZE, 0)}


def test_room_is_made_before_a_model_is_built_or_settled() -> None:
    cache, seen = ModelCache(SIZE), []

    def build() -> Simulated:
        seen.append(places(cache)["a"])
        return Simulated()

    use(cache, "a")
    use(cache, "b", build=build)
    assert seen == [(0, SIZE)]


def test_a_model_that_is_larger_than_was_said_makes_room_once_it_is_there() -> None:
    cache = ModelCache(2 * SIZE)
    use(cache, "a", "b")
    use(cache, "c", build=lambda: Simulated(2 * SIZE), room=Room())
    assert places(cache) == {"a": (0, SIZE), "b": (0, SIZE), "c": (2 * SIZE, 0)}


@pytest.mark.parametrize(
    ("host_budget", "left"),
    [
        (2 * SIZE, {"a": (0, SIZE), "b": (0, SIZE), "c": (SIZE, 0)}),
        (SIZE, {"b": (0, SIZE), "c": (SIZE, 0)}),
        (SIZE - 1, {"c": (SIZE, 0)}),
    ],
)
def test_what_leaves_the_card_needs_room_in_main_memory(
    host_budget: int, left: dict[str, tuple[int, int]]
) -> None:
    """It takes the place of models that were not used for longer, or is dropped."""
    cache = ModelCache(SIZE, host_budget)
    use(cache, "a", "b", "c")
    assert places(cache) == left


def test_a_model_gives_way_to_none_that_was_used_before_it() -> None:
    cache = ModelCache(SIZE, SIZE)
    use(cache, "a")
    use(cache, "b", build=on_host, room=ON_HOST)
    use(cache, "c")
    assert places(cache) == {"b": (0, SIZE), "c": (SIZE, 0)}


def test_on_the_cpu_main_memory_counts_and_nothing_moves() -> None:
    cache = ModelCache(None, 2 * SIZE)
    use(cache, "a", "b", "a", "c", build=on_host, room=ON_HOST)
    assert places(cache) == {"a": (0, SIZE), "c": (0, SIZE)}


def test_swapped_blocks_over_the_budget_do_not_give_way_to_a_model_on_the_card() -> None:
    cache = ModelCache(None, SIZE // 4)
    for key, loan, build in (
        ("transformer", SWAPPED, Simulated),
        ("VAE", LENT, Simulated),
        ("transformer", SWAPPED, forbidden),
    ):
        with cache.use(key, key, build, loan):
            pass
    assert places(cache) == {"VAE": (SIZE, 0), "transformer": (SIZE // 2, SIZE // 2)}
    use(cache, "text encoder", build=on_host, room=ON_HOST)
    assert places(cache) == {"VAE": (SIZE, 0), "text encoder": (0, SIZE)}


def test_without_budgets_all_are_kept() -> None:
    cache = ModelCache()
    use(cache, *range(20))
    assert cache.bytes == 20 * SIZE


def test_one_model_is_kept_even_over_the_budgets() -> None:
    cache = ModelCache(1, 1)
    use(cache, "a", "b")
    use(cache, "b", build=forbidden)
    assert places(cache) == {"b": (SIZE, 0)}


def test_another_swap_settles_the_model_anew() -> None:
    cache, tenant = ModelCache(), Simulated()
    for swap in (SwapPlan(), HALF, HALF, SwapPlan()):
        with cache.use("a", "a", lambda: tenant, Loan(room=ON_CARD, swap=swap)):
            assert tenant.device_bytes == SIZE // (1 + swap.blocks)
    assert tenant.events == ["settle 0", "rest", "settle 1", "rest", "settle 1", "rest", "settle 0", "rest"]


def test_a_model_at_work_goes_on_with_another_swap() -> None:
    cache, tenant = ModelCache(None, SIZE), Simulated()
    use(cache, "old", build=on_host, room=ON_HOST)
    with cache.use("a", "a", lambda: tenant, LENT):
        cache.settle_again("a", HALF)
        assert places(cache) == {"a": (SIZE // 2, SIZE // 2)}, "what it takes of main memory is made free"
        with cache.use("a", "a", forbidden, SWAPPED):
            pass
    assert tenant.events == ["settle 0", "settle 1", "rest"]


def test_a_job_may_bring_a_budget_of_its_own() -> None:
    cache = ModelCache(4 * SIZE)
    use(cache, "a", "b")
    cache.limit(SIZE)
    use(cache, "b", build=forbidden)
    assert places(cache) == {"a": (0, SIZE), "b": (SIZE, 0)}
    cache.limit(None)
    use(cache, "a", build=forbidden)
    assert places(cache) == {"b": (SIZE, 0), "a": (SIZE, 0)}


def test_lent_models_stay_where_they_are() -> None:
    cache = ModelCache(SIZE, 0)
    with ExitStack() as stack:
        for key in ("a", "b"):
            stack.enter_context(cache.use(key, key, Simulated, LENT))
        use(cache, "d")
        cache.unload()
        assert [(model.name, model.lent) for model in cache.contents()] == [("a", True), ("b", True)]
        assert places(cache) == {"a": (SIZE, 0), "b": (SIZE, 0)}
    use(cache, "a", build=forbidden)
    assert places(cache) == {"a": (SIZE, 0)}, "at the next use they give way again"


def test_main_memory_is_within_its_budget_when_all_have_come_back() -> None:
    cache = ModelCache(None, SIZE)
    with ExitStack() as stack:
        for key in ("a", "b"):
            stack.enter_context(cache.use(key, key, on_host, Loan(room=ON_HOST)))
        assert cache.bytes == 2 * SIZE
    assert places(cache) == {"a": (0, SIZE)}


def test_a_model_that_steps_aside_leaves_the_card_when_it_comes_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, emptied = ModelCache(None, 2 * SIZE), Simulated()
    use(cache, "a", build=on_host, room=ON_HOST)
    with cache.use("b", "b", lambda: emptied, Loan(room=ON_CARD, aside=True)):
        with cache.use("b", "b", forbidden, Loan(room=ON_CARD, aside=True)):
            pass
        assert emptied.events == ["settle 0"]
    assert places(cache) == {"a": (0, SIZE), "b": (0, SIZE)}
    with caplog.at_level(logging.INFO), cache.use("c", "c", lambda: Simulated(3 * SIZE), Loan(aside=True)):
        pass
    assert "[CACHE] c stays on the card, main memory has no room for it" in caplog.messages
    assert cache.contents()[-1].device_bytes == 3 * SIZE


def test_the_card_can_be_cleared(monkeypatch: pytest.MonkeyPatch) -> None:
    emptied: list[bool] = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append(True))
    cache = ModelCache(None, 4 * SIZE)
    with cache.use("a", "a", Simulated, LENT):
        use(cache, "b", "c")
        use(cache, "d", build=lambda: Simulated(3 * SIZE))
        cache.clear_card()
        assert places(cache) == {"a": (SIZE, 0), "c": (0, SIZE), "d": (0, 3 * SIZE)}
    cache.clear_card()
    assert places(cache) == {"c": (0, SIZE), "d": (0, 3 * SIZE)}, "a is older than both and has no room"
    assert emptied == [True, True]


def test_a_model_that_comes_from_main_memory_is_still_there_while_room_is_made() -> None:
    cache = ModelCache(SIZE, SIZE)
    use(cache, "a", "b")
    use(cache, "a", build=forbidden)
    assert places(cache) == {"a": (SIZE, 0)}


def test_after_a_fault_nothing_is_asked_of_the_card() -> None:
    cache, tenant = ModelCache(), Simulated()
    with pytest.raises(KeyError), cache.use("a", "a", lambda: tenant, Loan(aside=True)):
        raise KeyError
    assert tenant.events == ["settle 0", "rest"]


def test_a_model_is_dressed_before_it_is_settled_and_once_for_a_use() -> None:
    cache, tenant = ModelCache(), Simulated()

    def dress(model: nn.Module) -> None:
        assert model is tenant.model
        tenant.events.append("dress")

    with (
        cache.use("a", "a", lambda: tenant, LENT, dress=dress),
        cache.use("a", "a", forbidden, LENT, dress=dress),
    ):
        assert tenant.events == ["dress", "settle 0"]


def test_a_model_lent_twice_runs_once_and_stays_until_the_last_return() -> None:
    cache, tenant = ModelCache(), Simulated()
    with cache.use("a", "a", lambda: tenant, LENT) as outer:
        with cache.use("a", "a", forbidden, LENT) as inner:
            assert inner is outer
        cache.unload()
        assert tenant.events == ["settle 0"] and cache.bytes == SIZE
        with pytest.raises(ValueError, match="swap"), cache.use("a", "a", forbidden, SWAPPED):
            pass
    assert tenant.events == ["settle 0", "rest"]
    cache.unload()
    assert cache.bytes == 0


def test_a_model_that_is_not_kept_goes_with_its_last_borrower() -> None:
    cache = ModelCache()
    with cache.use("a", "a", Simulated, Loan(room=ON_CARD, keep=False)):
        with cache.use("a", "a", forbidden, Loan(room=ON_CARD, keep=False)):
            pass
        assert cache.bytes == SIZE
    assert cache.bytes == 0


def test_another_thread_can_not_have_it_at_the_same_time() -> None:
    cache, answers = ModelCache(), []

    def borrow() -> None:
        use(cache, "b")
        try:
            use(cache, "a")
        except RuntimeError as error:
            answers.append(str(error))

    def in_a_thread() -> None:
        thread = threading.Thread(target=borrow)
        thread.start()
        thread.join()

    with cache.use("model a", "a", Simulated, LENT):
        in_a_thread()
    assert answers == ["model a is at work in another thread"]
    in_a_thread()
    assert len(answers) == 1


def test_a_model_returns_when_its_user_fails() -> None:
    cache, tenant = ModelCache(), Simulated()
    with pytest.raises(KeyError), cache.use("a", "a", lambda: tenant, LENT):
        raise KeyError
    assert tenant.events == ["settle 0", "rest"]
    use(cache, "a", build=forbidden)
    cache.unload()
    assert cache.bytes == 0


def test_a_failed_build_leaves_nothing() -> None:
    cache = ModelCache()
    with pytest.raises(AssertionError):
        use(cache, "a", build=forbidden)
    assert cache.contents() == ()
    use(cache, "a")


def test_a_model_that_can_not_be_settled_can_be_tried_again() -> None:
    """As the ladder does after the card ran out of memory."""

    class Short(Simulated):
        @contextmanager
        def running(self, swap: SwapPlan) -> Iterator[nn.Module]:
            if not swap.blocks:
                raise torch.OutOfMemoryError("CUDA out of memory")
            with super().running(swap) as model:
                yield model

    cache = ModelCache()
    with pytest.raises(torch.OutOfMemoryError):
        use(cache, "a", build=Short)
    assert [model.lent for model in cache.contents()] == [False]
    with cache.use("a", "a", forbidden, SWAPPED):
        assert places(cache) == {"a": (SIZE // 2, SIZE // 2)}


def test_a_model_that_can_not_be_moved_is_not_kept_in_halves() -> None:
    class Stuck(Simulated):
        def retreat(self) -> None:
            raise MemoryError

    cache = ModelCache(SIZE)
    use(cache, "a", build=Stuck)
    with pytest.raises(MemoryError):
        use(cache, "b")
    assert cache.contents() == ()
    use(cache, "b")


def test_what_left_the_card_is_really_gone_when_its_memory_is_given_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    built: list[weakref.ref[Simulated]] = []
    alive: list[list[bool]] = []

    def build() -> Simulated:
        tenant = Simulated()
        tenant.model.itself = [tenant]  # type: ignore[assignment]  # only the collector ends such a circle
        built.append(weakref.ref(tenant))
        return tenant

    monkeypatch.setattr(
        torch.cuda, "empty_cache", lambda: alive.append([tenant() is not None for tenant in built])
    )
    gc.disable()
    try:
        cache = ModelCache(2 * SIZE, 0)
        use(cache, "a", "b", build=build)
        assert alive == []
        use(cache, "c", build=build, room=Room(device_bytes=2 * SIZE))
        assert alive == [[False, False]], "once for the round, before the next model is built"
        cache.unload()
        assert alive[1:] == [[False] * 3]
        with cache.use("d", "d", build, Loan(room=ON_CARD, keep=False)):
            pass
        use(cache, "e", build=build)
        assert alive[2:] == [[False] * 4]
    finally:
        gc.enable()


def test_a_file_that_changed_takes_its_models_with_it(tmp_path: Path) -> None:
    files = [tmp_path / "transformer", tmp_path / "audio"]
    for file in files:
        file.write_bytes(b"weights")
    cache = ModelCache()
    use(cache, model_key(files, "fp8"), model_key(files[:1], "bf16"), model_key(files[1:], "audio"))
    use(cache, model_key(files, "fp8"), build=forbidden)
    os.utime(files[0], (1, 1))
    use(cache, model_key(files[1:], "audio"), build=forbidden)
    assert len(cache.contents()) == 3
    seen: list[int] = []

    def build() -> Simulated:
        seen.append(len(cache.contents()))
        return Simulated()

    use(cache, model_key(files, "fp8"), build=build)
    assert seen == [1], "never both in memory"
    assert len(cache.contents()) == 2


def test_a_lent_model_of_a_changed_file_goes_when_it_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "vae"
    file.write_bytes(b"weights")
    cache = ModelCache()
    with cache.use("VAE", model_key([file]), Simulated, LENT):
        os.utime(file, (1, 1))
        use(cache, model_key([file]))
        assert len(cache.contents()) == 2
    assert len(cache.contents()) == 1
    use(cache, model_key([file]), build=forbidden)


def test_log_lines_people_know(caplog: pytest.LogCaptureFixture) -> None:
    cache = ModelCache(SIZE, SIZE)
    with caplog.at_level(logging.INFO, logger="wanvideo.model_cache"):
        use(cache, "a", "a", "b", "c")
    lines = caplog.messages
    assert lines[0] == "[LOAD] Loading model a..."
    assert lines[1].startswith("[CACHE] model a cached (") and lines[1].endswith(" s)")
    assert lines[2:4] == ["[CACHE] Using cached model a", "[CACHE] model a moves to main memory (0.0 GB)"]
    assert lines[6:8] == ["[CACHE] model a unloaded", "[CACHE] model b moves to main memory (0.0 GB)"]


def test_real_weights_on_the_cpu() -> None:
    cache = ModelCache(None, 1000)

    def build() -> Residence[nn.Linear]:
        return Residence(nn.Linear(10, 10, bias=False))

    for key in ("a", "b", "c"):
        with cache.use(key, key, build, Loan(room=Room(host_bytes=400), swap=HALF)) as model:
            assert model(torch.zeros(10)).shape == (10,)
    expected = [CachedModel(name=name, device_bytes=0, host_bytes=400, lent=False) for name in "bc"]
    assert list(cache.contents()) == expected


@pytest.mark.parametrize(
    ("ram", "free", "host"),
    [(64, 60, 40), (64, 24, 20), (32, 28, 20), (16, 12, 8), (16, 3, 2), (8, 7, 3)],
    ids=lambda gigabytes: str(gigabytes),
)
def test_budgets_follow_the_machine(ram: int, free: int, host: int) -> None:
    for machine, card in ((CPU, None), (GPU, 18 << 30)):
        cache = open_cache(replace(machine, ram_bytes=ram << 30, free_ram_bytes=free << 30))
        assert (cache.device_budget, cache.host_budget) == (card, host << 30)
