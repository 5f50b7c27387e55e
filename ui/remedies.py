"""What would mend a job: settings that another try of it could have, each a button on its card."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, TypeAlias

from ui.texts import say
from wanvideo.geometry import area_size
from wanvideo.jobs.job import FAILED, MEMORY, Job
from wanvideo.registry import attention_backends
from wanvideo.request import REQUEST_FIELDS

FEW_MOTION_FRAMES = re.compile(r"^More motion frames than (\d+)")  # of the quality report
EVERY_BLOCK = 40  # of the largest models; more are never swapped
SMALL_AREA = 512 * 576  # pixels
FEW_FRAMES = 61
MOTION_STEP = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One change: its name, what the button says, and the fields with their new values."""

    name: str
    words: str
    settings: Mapping[str, Any]


Remedies: TypeAlias = Iterator[Remedy]


def remedies_for(job: Job) -> tuple[Remedy, ...]:
    """For a failed job those of its kind of error. For a video past a limit of its quality report: the fixes
    that are settings.
    """
    if job.state == FAILED:
        mends = _OF_ERRORS.get(job.error_kind)
        found = mends(job) if mends else iter(())
    else:
        found = _better(job)
    return tuple({remedy.name: remedy for remedy in found}.values())


def remedy_buttons(job: Job) -> str:
    """A row of buttons, or nothing."""
    buttons = "".join(
        f"<button data-action='{remedy.name}' data-job='{job.id}'>{escape(remedy.words)}</button>"
        for remedy in remedies_for(job)
    )
    return f"<p class='hint'>{say('remedies')}</p><div class='remedies'>{buttons}</div>" if buttons else ""


def _less_memory(job: Job) -> Remedies:
    width, height, frames = (job.failure[name] for name in ("width", "height", "frames"))
    swapped = job.options.get("blocks_to_swap")
    if not isinstance(swapped, int) or swapped < EVERY_BLOCK:
        yield Remedy(name="swap", words=say("remedy_swap"), settings={"blocks_to_swap": EVERY_BLOCK})
    if width * height > SMALL_AREA and not job.request.get("extends"):  # an old video keeps its size
        high, wide = area_size(height / width, SMALL_AREA)
        words = say("remedy_size", width=wide, height=high)
        yield Remedy(name="size", words=words, settings={"width": wide, "height": high})
    if frames > FEW_FRAMES:
        has_windows = REQUEST_FIELDS["window_frames"].is_for(job.request.get("task", "talk"))
        fewer = {"window_frames": FEW_FRAMES} if has_windows else {"num_frames": FEW_FRAMES, "seconds": None}
        yield Remedy(name="frames", words=say("remedy_frames", frames=FEW_FRAMES), settings=fewer)


def _better(job: Job) -> Remedies:
    for name, figure in job.result.get("quality", {}).items():
        if figure["past"]:
            for fix in _FIXES.get(name, ()):
                yield from fix(job, figure)


def _colour(job: Job, figure: Mapping[str, Any]) -> Remedies:  # noqa: ARG001 - a fix's form
    if job.request.get("color_correction", 1.0) < 1:
        yield Remedy(name="colour", words=say("remedy_colour"), settings={"color_correction": 1.0})


def _motion(job: Job, figure: Mapping[str, Any]) -> Remedies:  # noqa: ARG001 - a fix's form
    found = FEW_MOTION_FRAMES.match(figure["fix"])
    if found:
        more = int(found[1]) + MOTION_STEP
        yield Remedy(name="motion", words=say("remedy_motion", frames=more), settings={"motion_frames": more})


def _steps(job: Job, figure: Mapping[str, Any]) -> Remedies:  # noqa: ARG001 - a fix's form
    steps = job.result.get("effective", {}).get("num_inference_steps")
    if steps:
        more = steps + max(2, steps // 2)
        yield Remedy(
            name="steps", words=say("remedy_steps", steps=more), settings={"num_inference_steps": more}
        )


def _attention(job: Job, figure: Mapping[str, Any]) -> Remedies:  # noqa: ARG001 - a fix's form
    ran = attention_backends().get(job.result.get("effective", {}).get("attention", ""))
    if ran is not None and ran.fallback is not None:
        words = say("remedy_attention", name=ran.fallback)
        yield Remedy(name="attention", words=words, settings={"attention": ran.fallback})


_OF_ERRORS: Mapping[str, Callable[[Job], Remedies]] = {MEMORY: _less_memory}
_FIXES: Mapping[str, tuple[Callable[[Job, Mapping[str, Any]], Remedies], ...]] = {
    "colour_drift": (_colour, _steps),
    "colour_spread": (_colour, _steps),
    "seam_jump": (_motion, _steps),
    "frozen": (_steps,),
    "flat": (_attention, _steps),
}
