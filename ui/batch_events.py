"""What several inputs at once do: one line in the forecast, and a job for each video."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import gradio as gr

from ui.batch import Batch, Combination, combinations, read_batch
from ui.cards import as_sentence
from ui.fields import Values, collect, shown_values
from ui.forecast import Updates, missing_input, roughly, show_forecast
from ui.forms import forget_batch
from ui.parts import Page
from ui.restore import MOST_TOLD, toast
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import RuntimeOptions

MOST_FORESEEN = 4  # combinations of inputs that are planned for the forecast, spread over all


def foresee(page: Page, values: Values) -> Updates:
    """The forecast of the form, or of the videos that several inputs come to."""
    try:
        batch = _given(page, values)
        found = combinations(batch, collect(page.form, values)) if batch else ()
    except UserError as error:
        return {page.generation.forecast: _problem(str(error))}
    if not found:
        return show_forecast(page, values)
    first = _with(page, values, found[0])
    updates = show_forecast(page, {**first, page.form["count"]: 1})
    if missing_input(page, first):
        return updates
    line = _in_all(page, values, found)
    return {**updates, page.generation.forecast: line + updates[page.generation.forecast]}


def is_batch(page: Page, values: Values) -> bool:
    """Whether something is given there; what can't be read counts."""
    try:
        return bool(_given(page, values))
    except UserError:
        return True


def add_batch(page: Page, values: Values) -> Updates:
    """A job for each video, after the same checks as a single one's; those that are refused are named and the
    others go in. Empties the widgets when some did, so that the next click makes one video again.
    """
    try:
        found = combinations(_given(page, values), collect(page.form, values))
    except UserError as error:
        toast(gr.Warning, str(error))
        return {}
    needed = missing_input(page, _with(page, values, found[0]))
    if needed:
        gr.Warning(needed)
        return {}
    added, refused = 0, list[str]()
    for one in found:
        try:
            plans, options = _plan(page, values, one)
            added += len([page.store.add(plan.request, options) for plan in plans])
        except (UserError, gr.Error) as error:
            refused.append(f"{one.name}: {error.message if isinstance(error, gr.Error) else error}")
    return _tell(page, added, refused)


def _tell(page: Page, added: int, refused: Sequence[str]) -> Updates:
    if refused:
        more = ["…"] if len(refused) > MOST_TOLD else []
        reasons = " ".join([*refused[:MOST_TOLD], *more])
        toast(gr.Warning, say("batch_refused", count=len(refused), reasons=reasons))
    if not added:
        return {}
    gr.Info(say("batch_added", count=added), duration=5)
    forget_batch(page)
    part = page.generation.batch
    return {part.files: gr.update(value=None), part.prompts: "", part.seeds: ""}


def _given(page: Page, values: Values) -> Batch:
    return read_batch(page.generation.batch, values, values[page.form["task"]])


def _with(page: Page, values: Values, one: Combination) -> Values:
    """The form's values as if this video were typed there."""
    shown = {
        widget: value
        for name, given in one.settings.items()
        for widget, value in zip(page.form.widgets[name], shown_values(name, given), strict=True)
    }
    return {**values, **shown}


def _plan(
    page: Page, values: Values, one: Combination, more: Mapping[str, Any] | None = None
) -> tuple[tuple[GenerationPlan, ...], RuntimeOptions]:
    settings = {**collect(page.form, values), **one.settings, **(more or {})}
    request, options = page.read_settings(settings)
    return prepare(request, options, suspects=page.store.suspects()), options


def _in_all(page: Page, values: Values, found: Sequence[Combination]) -> str:
    """How many videos, how long they take, and what is wrong with those that were looked at."""
    seconds, problems = list[float](), ""
    for one in found[:: -(-len(found) // MOST_FORESEEN)]:
        try:
            plans, _ = _plan(page, values, one, {"count": 1})
            seconds.append(plans[0].forecast.seconds or 0.0)
        except UserError as error:
            problems += _problem(f"{one.name}: {error}")
    count = len(found) * one.settings.get("count", collect(page.form, values).get("count", 1))
    mean = sum(seconds) / max(1, len(seconds))
    words = say("batch_forecast", count=count, seconds=roughly(mean * count))
    line = words if mean else say("batch_forecast_count", count=count)
    return f"<p class='facts batch'>{escape(line)}</p>{problems}"


def _problem(sentence: str) -> str:
    return f"<p class='problem'>{escape(as_sentence(sentence))}</p>"
