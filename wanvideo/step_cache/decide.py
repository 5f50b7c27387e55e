"""Which step cache runs, and what is said of it. Pure arithmetic."""

from collections.abc import Iterator
from dataclasses import dataclass

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.options import RuntimeOptions
from wanvideo.settings import Settings
from wanvideo.step_cache.published import published_model
from wanvideo.step_cache.row import CacheForecast, StepCache, StepCachePlan, Steps
from wanvideo.step_cache.table import step_caches

FEWEST_STEPS = 5  # with fewer, each differs too much from the one before


@dataclass(frozen=True, slots=True, kw_only=True)
class DecidedStepCache:
    """`notes` are sentences without a full stop."""

    plan: StepCachePlan
    forecast: CacheForecast
    notes: tuple[str, ...] = ()


def decide_step_cache(options: RuntimeOptions, settings: Settings, models: ModelSet) -> DecidedStepCache:
    """The cache that the options ask for, unless it can have no effect."""
    row = step_caches().get(options.step_cache)
    off = DecidedStepCache(plan=StepCachePlan(), forecast=CacheForecast())
    if row is None:
        notes = ("step_cache_threshold has no effect while step_cache is off",)
        return off if options.step_cache_threshold is None else _with_notes(off, notes)
    if (reason := _idle(options, settings, models)) is not None:
        return _with_notes(off, (f"step_cache {row.name} has no effect {reason}",))
    model, asked = published_model(models), options.step_cache_threshold
    threshold = row.threshold(model) if asked is None else asked
    plan, steps = (
        StepCachePlan(name=row.name, threshold=threshold, model=model),
        steps_of_window(settings, models),
    )
    forecast = _forecast(row, plan, steps)
    return DecidedStepCache(plan=plan, forecast=forecast, notes=tuple(_about(row, plan, steps)))


def steps_of_window(settings: Settings, models: ModelSet) -> Steps:
    """The steps of each window, with those in which a LoRA gets another strength."""

    def strengths(step: int) -> list[float]:
        return [use.strength_at(step) for use in models.loras]

    run = settings.steps
    fresh = frozenset(step for step in run[1:] if strengths(step) != strengths(step - 1))
    return Steps(run=run, total=settings.num_inference_steps, fresh=fresh)


def _idle(options: RuntimeOptions, settings: Settings, models: ModelSet) -> str | None:
    """Why no step could be left out."""
    if len(settings.steps) < FEWEST_STEPS:
        return f"in fewer than {FEWEST_STEPS} steps"
    recipes = [models.recipe, *(use.facts.recipe for use in models.loras)]
    if any(recipe is not None for recipe in recipes):
        return "with a step-distilled model: each of its steps counts"
    return "at threshold 0: every step is computed" if options.step_cache_threshold == 0 else None


def _forecast(row: StepCache, plan: StepCachePlan, steps: Steps) -> CacheForecast:
    known = row.known(plan, steps)
    skipped = frozenset() if known is None else frozenset(i for i, runs in enumerate(known) if not runs)
    return CacheForecast(kept=row.kept, passing=row.passing, skipped=skipped)


def _about(row: StepCache, plan: StepCachePlan, steps: Steps) -> Iterator[str]:
    title = f"{row.label} {plan.threshold:g}"
    known = row.known(plan, steps)
    if known is None:
        yield f"{title}: how many of the {len(steps.run)} steps are computed shows while the video is made"
    elif all(known):
        yield f"{title}: all {len(known)} steps are computed, so nothing is saved"
    else:
        yield f"{title}: {sum(known)} of {len(known)} steps are computed"
    if (remark := row.remark(plan.model)) is not None:
        yield f"{row.label}: {remark}"


def _with_notes(decided: DecidedStepCache, notes: tuple[str, ...]) -> DecidedStepCache:
    return DecidedStepCache(plan=decided.plan, forecast=decided.forecast, notes=notes)
