"""The quality report of a finished video: each figure, its limit, and what mends one that is past it."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from wanvideo.plan import GenerationPlan
from wanvideo.quality.frames import WindowFigures
from wanvideo.request import REQUEST_FIELDS

MOST_COLOUR = 5.0  # Lab units: twice what is just noticeable side by side
MOST_JUMP = 2.0  # of the largest change inside the two windows; at a seam nobody sees it may be 1.2
LEAST_CHANGE = 0.5  # levels of 255: in a video that hardly moves, noise at a seam is no jump
MOST_STILL = 1.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One thing that was measured: a value per window, per border between windows or for the whole video;
    None where it is not known. `fix` says what mends it when the worst value is past `limit`.
    """

    name: str
    what: str
    unit: str
    values: tuple[float | None, ...]
    limit: float
    fix: str

    @property
    def worst(self) -> float | None:
        """The value farthest from 0, whatever its sign."""
        known = [value for value in self.values if value is not None]
        return max(known, key=abs) if known else None

    @property
    def is_past(self) -> bool:
        """Whether it is to be shown in red."""
        return self.worst is not None and abs(self.worst) > self.limit


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityReport:
    """All figures of a video; those that its task does not have are left out."""

    figures: tuple[Figure, ...]

    @property
    def faults(self) -> tuple[str, ...]:
        """A sentence for each figure past its limit, with its fix."""
        return tuple(
            f"{figure.what}: {figure.worst:.3g} {figure.unit}, the limit is {figure.limit:.3g}. {figure.fix}"
            for figure in self.figures
            if figure.is_past
        )

    def as_mapping(self) -> dict[str, dict[str, Any]]:
        """By name, for JSON: what, unit, values, worst, limit, past, and the fix where it is past."""
        return {
            figure.name: {
                "what": figure.what,
                "unit": figure.unit,
                "values": list(figure.values),
                "worst": figure.worst,
                "limit": figure.limit,
                "past": figure.is_past,
                "fix": figure.fix if figure.is_past else "",
            }
            for figure in self.figures
        }


def quality_report(
    plan: GenerationPlan, windows: Sequence[WindowFigures], sound_difference: float | None
) -> QualityReport:
    """The report of `windows`; `sound_difference` is the length of the sound less that of the pictures, in
    seconds, None without sound.
    """
    found = [check(plan, windows) for check in (_colour, _spread, _seams, _still, _flat)]
    found.append(_sound(plan, sound_difference))
    return QualityReport(figures=tuple(figure for figure in found if figure.worst is not None))


def _colour(plan: GenerationPlan, windows: Sequence[WindowFigures]) -> Figure:
    values = _values(window.colour_mean for window in windows)
    return _colour_figure(plan, "colour_drift", "colour drift from the picture", values)


def _spread(plan: GenerationPlan, windows: Sequence[WindowFigures]) -> Figure:
    values = _values(window.colour_spread for window in windows)
    return _colour_figure(plan, "colour_spread", "contrast drift from the picture", values)


def _colour_figure(plan: GenerationPlan, name: str, what: str, values: tuple[float | None, ...]) -> Figure:
    fix = _colour_fix(plan)
    return Figure(name=name, what=what, unit="Lab units", values=values, limit=MOST_COLOUR, fix=fix)


def _colour_fix(plan: GenerationPlan) -> str:
    field = REQUEST_FIELDS["color_correction"]
    if plan.request.color_correction < 1:
        return f"{field.label} 1 holds every window to the picture."
    return "More steps, lower guidance or another seed keep nearer to the picture."


def _seams(plan: GenerationPlan, windows: Sequence[WindowFigures]) -> Figure:
    def jump(before: WindowFigures, after: WindowFigures) -> float:
        inside = [change for change in (before.change, after.change) if not math.isnan(change)]
        return after.seam / max(LEAST_CHANGE, *inside) if inside else math.nan

    motion = plan.settings.motion_frames
    fix = f"More motion frames than {motion}, more steps" if motion else "More steps"
    return Figure(
        name="seam_jump",
        what="jump between windows",
        unit="x the largest change inside",
        values=_values(map(jump, windows, windows[1:])),
        limit=MOST_JUMP,
        fix=f"{fix} or another seed make the border softer.",
    )


def _still(plan: GenerationPlan, windows: Sequence[WindowFigures]) -> Figure:
    return Figure(
        name="frozen",
        what="longest standstill",
        unit="seconds",
        values=_values(window.still / plan.settings.fps for window in windows),
        limit=MOST_STILL,
        fix="A prompt that says what moves, more steps, other guidance or another seed bring it to life.",
    )


def _flat(plan: GenerationPlan, windows: Sequence[WindowFigures]) -> Figure:  # noqa: ARG001 - a check's form
    return Figure(
        name="flat",
        what="frames that are black or one colour",
        unit="frames",
        values=_values(window.flat for window in windows),
        limit=0.0,
        fix="An 8-bit attention instead of a 4-bit one, more steps, other guidance or another seed may help.",
    )


def _sound(plan: GenerationPlan, difference: float | None) -> Figure:
    return Figure(
        name="sound_length",
        what="sound longer than the pictures",
        unit="seconds",
        values=_values([math.nan if difference is None else difference]),
        limit=round(1 / plan.settings.fps, 3),
        fix="Make the video again; the sound is cut or padded to the length of the pictures.",
    )


def _values(values: Iterable[float]) -> tuple[float | None, ...]:
    """Rounded, with None for NaN: JSON has no NaN."""
    return tuple(None if math.isnan(value) else round(value, 3) for value in values)
