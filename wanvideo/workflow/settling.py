"""Findings as settings: one value for each field, checked as the planner will check it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from wanvideo.defaults import SPEECH_FPS
from wanvideo.errors import UserError
from wanvideo.fallback import AUTO_NAMES
from wanvideo.fields import read_value
from wanvideo.geometry import check_frames, check_size
from wanvideo.presets import ALL_FIELDS
from wanvideo.registry import attention_backends, quantization_modes, resolve
from wanvideo.sampling.samplers import find_sampler
from wanvideo.workflow.findings import Finding
from wanvideo.workflow.report import LEFT, OTHERWISE, TAKEN, Line
from wanvideo.workflow.rows import SPACING, SPEECH

LENGTHS = ("num_frames", "seconds")  # two ways to say one thing
_SIZE = ("width", "height")


def settle(
    findings: Sequence[Finding], task: str | None, *, speaks: bool
) -> tuple[dict[str, Any], list[Line]]:
    """(field -> checked value, a line for each finding). Two different values for one field are both left."""
    lines: list[Line] = []
    values: dict[str, Any] = {}
    kept: dict[str, Finding] = {}
    for field in dict.fromkeys(finding.field for finding in findings):
        same = [finding for finding in findings if finding.field == field]
        if field == "loras":
            values["loras"] = tuple(_checked_each(same, lines))
            continue
        chosen = _one_of(same, lines)
        if chosen is not None:
            kept[field] = chosen
    _join_sampler(kept, lines)
    for field, chosen in kept.items():
        _take(field, chosen, task, speaks, values, lines)
    _join_speech(values)
    _pair_size(values, lines)
    return {name: value for name, value in values.items() if value != ()}, lines


def _one_of(same: Sequence[Finding], lines: list[Line]) -> Finding | None:
    """The one value that all strong findings have, else the weak ones."""
    strong = [finding for finding in same if not finding.weak] or list(same)
    for finding in same:
        if finding not in strong:
            detail = f"{strong[0].line.node} has a word on it too, and that one counts"
            lines.append(replace(finding.line, outcome=OTHERWISE, detail=detail))
    if any(finding.value != strong[0].value for finding in strong[1:]):
        detail = "several nodes give this field different values; choose one yourself"
        lines += [replace(finding.line, outcome=LEFT, detail=detail) for finding in strong]
        return None
    lines += [replace(finding.line, outcome=OTHERWISE, detail="given again") for finding in strong[1:]]
    return strong[0]


def _join_sampler(kept: dict[str, Finding], lines: list[Line]) -> None:
    """A solver and the spacing of its sigmas are one name here."""
    spacing = kept.pop(SPACING, None)
    if spacing is None:
        return
    if "sampler" not in kept:
        lines.append(replace(spacing.line, outcome=LEFT, detail="there is no sampler that it is for"))
        return
    sampler = kept["sampler"]
    kept["sampler"] = replace(sampler, value=f"{sampler.value}{spacing.value}")
    lines.append(replace(spacing.line, outcome=TAKEN, detail="sampler"))


def _take(
    field: str, chosen: Finding, task: str | None, speaks: bool, values: dict[str, Any], lines: list[Line]
) -> None:
    """One value into its field, or a line that says why not."""
    if field not in ALL_FIELDS:  # a pseudo field: a path that was found
        values[field] = chosen.value
        lines.append(replace(chosen.line, outcome=TAKEN, detail="audio"))
        return
    if task is not None and not ALL_FIELDS[field].is_for(task):
        lines.append(replace(chosen.line, outcome=OTHERWISE, detail=f"{task} has no {field}"))
        return
    try:
        value = _checked(field, chosen.value)
        if field == "fps" and speaks and value != SPEECH_FPS:
            raise UserError("fps must be 25 with speech", value=value)
    except UserError as error:
        lines.append(replace(chosen.line, outcome=LEFT, detail=str(error).rstrip(".")))
        return
    values[field] = value
    lines.append(replace(chosen.line, outcome=TAKEN, detail=field))


def _checked_each(findings: Iterable[Finding], lines: list[Line]) -> Iterable[Any]:
    """The values of a list, each checked on its own."""
    for finding in findings:
        try:
            yield from _checked(finding.field, [finding.value])
        except UserError as error:
            lines.append(replace(finding.line, outcome=LEFT, detail=str(error).rstrip(".")))
        else:
            lines.append(replace(finding.line, outcome=TAKEN, detail=finding.field))


def _join_speech(values: dict[str, Any]) -> None:
    paths = tuple(values.pop(name) for name in SPEECH if name in values)
    if paths:
        values["audio"] = paths


def _pair_size(values: dict[str, Any], lines: list[Line]) -> None:
    """One side alone is no size."""
    alone = [name for name in _SIZE if name in values]
    if len(alone) == 1:
        detail = "width and height go together, and the other one could not be taken"
        taken = next(line for line in lines if line.detail == alone[0] and line.outcome == TAKEN)
        lines[lines.index(taken)] = replace(taken, outcome=LEFT, detail=detail)
        del values[alone[0]]


def _checked(field: str, value: Any) -> Any:
    """The value as the field has it. Raises UserError."""
    return _CHECKS.get(field, lambda read: read)(read_value(ALL_FIELDS[field], value))


def _name_in(table: Callable[[], Mapping[str, Any]], what: str) -> Callable[[Any], Any]:
    def check(name: str) -> str:
        return name if name in AUTO_NAMES else str(resolve(table(), name, what).name)

    return check


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "sampler": lambda name: find_sampler(name).name,
    "attention": _name_in(attention_backends, "attention"),
    "quantization": _name_in(quantization_modes, "quantization"),
    **{name: partial(check_size, name) for name in _SIZE},
    **{name: partial(check_frames, name) for name in ("num_frames", "window_frames", "motion_frames")},
}
