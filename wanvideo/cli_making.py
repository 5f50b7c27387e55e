"""Plans carried out for the command line: words for people, one JSON object for programs."""

import json
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TextIO

from wanvideo.errors import Cancelled
from wanvideo.hardware import probe_hardware
from wanvideo.model_cache import ModelCache, open_cache
from wanvideo.plan import GenerationPlan
from wanvideo.progress_bar import ProgressBar, stoppable

if TYPE_CHECKING:
    from wanvideo.pipeline import GenerationResult


def make_videos(plans: Sequence[GenerationPlan], *, as_json: bool) -> None:
    """One after the other, with the models of the one before. Raises Cancelled when it is stopped."""
    cache, reports = open_cache(probe_hardware()), []
    for plan in plans:
        print_notes(plan, sys.stderr)
        made = _make_one(plan, cache)
        _print_late_notes(plan, made)
        print(f"{made.output}\n{made.seconds:.1f} seconds", file=human(as_json))
        report = {**report_of(made.plan), "output": str(made.output), "seconds": round(made.seconds, 3)}
        reports.append({**report, "notes": [*report["notes"], *made.quality.faults]})
    if as_json:
        print_json(reports)


def _print_late_notes(plan: GenerationPlan, made: "GenerationResult") -> None:
    """What only the making showed: memory or attention that gave way, figures past their limits."""
    for note in (*made.plan.notes[len(plan.notes) :], *made.quality.faults):
        print(f"Note: {note.rstrip('.')}.", file=sys.stderr)


def _make_one(plan: GenerationPlan, cache: ModelCache) -> "GenerationResult":
    """What was made. Raises Cancelled that names what a stopped job had finished."""
    bar = ProgressBar(sys.stderr)
    try:
        with stoppable(bar) as progress:
            from wanvideo.pipeline import generate  # loads torch; a stop in the meantime counts

            result = generate(plan, cache, progress)
    except Cancelled:
        from wanvideo.finished_file import keep_finished

        kept = keep_finished(plan)
        raise Cancelled(f"What was finished: {kept}" if kept else "") from None
    finally:
        bar.close()
    return result


def report_of(plan: GenerationPlan) -> dict[str, Any]:
    """What a program wants to know of a plan."""
    return {"output": str(plan.output), "effective": plan.effective(), "notes": list(plan.notes)}


def print_json(reports: list[dict[str, Any]]) -> None:
    """One object on the last line of stdout: the first video's report, all of them when there are more."""
    whole = {**reports[0], "variations": reports} if len(reports) > 1 else reports[0]
    print(json.dumps(whole))


def print_notes(plan: GenerationPlan, out: TextIO) -> None:
    """What differs from what was asked, a line each."""
    for note in plan.notes:
        print(f"Note: {note}.", file=out)


def human(as_json: bool) -> TextIO:
    """Where words for people go: beside a JSON answer, stdout is the program's alone."""
    return sys.stderr if as_json else sys.stdout
