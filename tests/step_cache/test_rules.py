"""Which steps are computed, from the published figures alone, and what a plan says of it."""

from dataclasses import replace
from typing import Any

import pytest

from tests.memory.cases import job
from tests.plan_cases import GPU, POCKET, REAL, SPEECH, SPOKEN, TEXT, checkpoint, plan
from tests.test_lora_jobs import use
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.lora_recipes import Recipe
from wanvideo.checkpoint.profiles import ModelProfile
from wanvideo.memory.activations import transformer_bytes
from wanvideo.memory_plan import MemoryPlan
from wanvideo.options import NO_STEP_CACHE
from wanvideo.request import OPTION_FIELDS
from wanvideo.step_cache import magcache, teacache
from wanvideo.step_cache.decide import FEWEST_STEPS, steps_of_window
from wanvideo.step_cache.magnitudes import MAGNITUDES
from wanvideo.step_cache.published import I2V_480, I2V_720, MODELS, T2V, T2V_SMALL, published_model
from wanvideo.step_cache.row import CacheForecast, StepCachePlan, Steps
from wanvideo.step_cache.table import step_caches

NAMES = list(step_caches())
FIFTY = Steps(run=range(50), total=50)
CLIP = replace(REAL, image_encoder=checkpoint("image_encoder", "clip"))


def magnitudes(threshold: float, steps: Steps = FIFTY, model: str = T2V_SMALL) -> dict[int, bool]:
    return magcache.computed_steps(StepCachePlan(name="magcache", threshold=threshold, model=model), steps)


def computed(steps: dict[int, bool]) -> list[int]:
    return [step for step, runs in steps.items() if runs]


def test_the_option_offers_every_row_and_none() -> None:
    assert OPTION_FIELDS["step_cache"].choices == (NO_STEP_CACHE, *NAMES)
    assert OPTION_FIELDS["step_cache"].default == NO_STEP_CACHE


@pytest.mark.parametrize("steps", [FIFTY, Steps(run=range(3, 9), total=9, fresh=frozenset({5}))])
def test_first_last_and_fresh_steps_are_computed_whatever_the_threshold(steps: Steps) -> None:
    tea = teacache.computed_steps([0.0] * len(steps.run), (1.0, 0.0), 10, steps)
    wanted = {steps.run[0], steps.run[-1]} | steps.fresh
    assert set(computed(tea)) == wanted
    assert wanted <= set(computed(magnitudes(10, steps)))


def test_threshold_zero_computes_every_step() -> None:
    assert all(magnitudes(0).values())
    assert all(teacache.computed_steps([0.0] * 50, (1.0, -1.0), 0, FIFTY).values())


def test_changes_are_added_up_until_they_pass_the_threshold() -> None:
    steps = Steps(run=range(2, 10), total=12)
    changes = [9.0, 0.1, 0.1, 0.1, 0.5, 0.1, 0.2, 0.0]
    told = teacache.computed_steps(changes, (2.0, -0.1), 0.25, steps)  # 0.1, 0.1, 0.1 | 0.9 | 0.1, 0.3 | last
    assert computed(told) == [2, 5, 6, 8, 9]


def test_errors_of_magnitudes_are_added_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a ratio of 0.9, one step left out is off by 0.1, the next by 0.19 more."""
    monkeypatch.setitem(MAGNITUDES, T2V, (0.9,) * 9)  # type: ignore[misc]
    ten = Steps(run=range(10), total=10)
    assert computed(magnitudes(0.0999, ten, T2V)) == list(range(10))
    assert computed(magnitudes(0.11, ten, T2V)) == [0, 1, 3, 5, 7, 9]
    assert computed(magnitudes(0.3, ten, T2V)) == [0, 1, 4, 7, 9]
    assert computed(magnitudes(9.0, ten, T2V)) == [0, 1, 4, 7, 9]  # never three in a row


@pytest.mark.parametrize("model", MODELS)
def test_published_figures_leave_steps_out(model: str) -> None:
    steps = Steps(run=range(len(MAGNITUDES[model]) + 1), total=len(MAGNITUDES[model]) + 1)
    assert steps.total in (40, 50)
    kept = computed(magnitudes(0.12, steps, model))
    assert kept[: steps.total // 5] == list(range(steps.total // 5))
    assert steps.total * 0.3 < len(kept) < steps.total * 0.7
    ratios = magcache.ratios(model, steps.total)
    assert ratios[0] == 1 and ratios[1:] == MAGNITUDES[model]
    assert len(magcache.ratios(model, 7)) == 7 and magcache.ratios(model, 7)[-1] == ratios[-1]


@pytest.mark.parametrize(
    ("models", "name"),
    [
        (REAL, T2V),
        (CLIP, I2V_480),
        (replace(CLIP, profile=ModelProfile(label="", tier=720)), I2V_720),
        (replace(REAL, transformer=replace(REAL.transformer, dim=1536, num_layers=30)), T2V_SMALL),
        (replace(REAL, transformer=replace(REAL.transformer, dim=512)), ""),
    ],
)
def test_models_are_known_by_their_size(models: ModelSet, name: str) -> None:
    assert published_model(models) == name


@pytest.mark.parametrize("name", NAMES)
def test_a_plan_says_what_runs(name: str) -> None:
    off = plan({**TEXT, "steps": 50}, machine=GPU)
    made = plan({**TEXT, "steps": 50}, machine=GPU, options={"step_cache": name})
    row = step_caches()[name]
    assert made.step_cache == StepCachePlan(name=name, threshold=row.threshold(T2V), model=T2V)
    assert made.effective()["step_cache"] == name and made.effective()["step_cache_threshold"] > 0
    assert off.effective()["step_cache"] == NO_STEP_CACHE and "step_cache_threshold" not in off.effective()
    assert any(note.startswith(row.label) for note in made.notes)
    assert made.kind != off.kind
    own = plan({**TEXT, "steps": 50}, machine=GPU, options={"step_cache": name, "step_cache_threshold": 0.3})
    assert own.step_cache.threshold == 0.3 and own.kind != made.kind


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [0, 4096])
def test_memory_counts_what_is_kept_of_every_pass(name: str, chunk: int) -> None:
    row, plain, memory = step_caches()[name], job(passes=3), MemoryPlan(chunk_tokens=chunk)
    cache = CacheForecast(kept=row.kept, passing=row.passing)
    more = transformer_bytes(replace(plain, cache=cache), memory) - transformer_bytes(plain, memory)
    assert more == (3 * row.kept + row.passing) * 32_760 * 5120 * 2
    made = plan(SPEECH, SPOKEN, CLIP, GPU, {"step_cache": name}).forecast.working["model"]
    assert made > plan(SPEECH, SPOKEN, CLIP, GPU).forecast.working["model"]


def test_known_steps_shorten_the_forecast() -> None:
    off = plan({**TEXT, "steps": 50}, machine=GPU)
    made = plan({**TEXT, "steps": 50}, machine=GPU, options={"step_cache": "magcache"})
    share = sum(magnitudes(0.12, model=T2V).values()) / 50
    ratio = made.forecast.stages["denoise"].seconds / off.forecast.stages["denoise"].seconds
    assert ratio == pytest.approx(share, rel=0.02)
    assert f"MagCache 0.12: {round(share * 50)} of 50 steps are computed" in made.notes


IDLE: list[tuple[dict[str, Any], dict[str, Any], ModelSet, str]] = [
    ({"steps": FEWEST_STEPS - 1}, {}, REAL, f"in fewer than {FEWEST_STEPS} steps"),
    ({"steps": 8}, {}, replace(REAL, recipe=Recipe(title="FusionX")), "with a step-distilled model"),
    ({"steps": 20}, {"step_cache_threshold": 0}, REAL, "at threshold 0"),
]


@pytest.mark.parametrize(("asked", "options", "models", "why"), IDLE)
@pytest.mark.parametrize("name", NAMES)
def test_where_it_can_have_no_effect_it_is_off(
    name: str, asked: dict[str, Any], options: dict[str, Any], models: ModelSet, why: str
) -> None:
    made = plan({**TEXT, **asked}, models=models, options={"step_cache": name, **options})
    assert not made.step_cache.is_on
    assert any(note.startswith(f"step_cache {name} has no effect {why}") for note in made.notes)


def test_a_threshold_without_a_cache_is_idle() -> None:
    made = plan(TEXT, options={"step_cache_threshold": 0.1})
    assert "step_cache_threshold has no effect while step_cache is off" in made.notes


def test_steps_with_other_lora_strengths_are_fresh() -> None:
    models = replace(POCKET, loras=(use("a", (1.0, 1.0, 0.5)), use("b", 0.7)))
    settings = plan({**TEXT, "steps": 8, "start_step": 1}).settings
    told = steps_of_window(settings, models)
    assert told == Steps(run=range(1, 8), total=8, fresh=frozenset({2}))
