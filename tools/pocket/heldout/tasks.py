"""The table of tasks, in the order in which they are measured and shown."""

from collections.abc import Callable
from dataclasses import dataclass

from tools.pocket.heldout import autoencoder, formats, motion, pairs, talking, text, windows
from tools.pocket.heldout.bench import JUDGE, Bench
from tools.pocket.heldout.results import Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One thing to measure. `explanation` stands under its contact sheet."""

    title: str
    explanation: str
    measure: Callable[[Bench], Result]
    rows: int = 8
    """Of the sheet, at most."""
    needs_judge: bool = False
    needs_recordings: bool = False


TASKS = {
    "autoencoder": Task(
        title="Autoencoder",
        explanation="Drawn clips, each above what the autoencoder makes of it.",
        measure=autoencoder.measure,
    ),
    "voices": Task(
        title="Talk, synthetic voices",
        explanation="Grey: how far the sound opens the mouth. Line: what the video shows, to one scale.",
        measure=talking.measure_voices,
    ),
    "humans": Task(
        title="Talk, human recordings",
        explanation="The same speakers with recordings of people, which no training used.",
        measure=talking.measure_humans,
        needs_recordings=True,
    ),
    "pairs": Task(
        title="Two speakers",
        explanation="The upper curve is the left mouth, the lower one the right; often one is silent.",
        measure=pairs.measure,
    ),
    "windows": Task(
        title="Four windows",
        explanation="Windows meet at the dashed lines.",
        measure=windows.measure,
    ),
    "motion": Task(
        title="Picture to video",
        explanation="The last rows were given an end picture as well, shown at the right.",
        measure=motion.measure,
        needs_judge=True,
    ),
    "text": Task(
        title="Text to video",
        explanation="The caption is the whole prompt; right and wrong are the judge's words.",
        measure=text.measure,
        rows=12,
        needs_judge=True,
    ),
    "formats": Task(
        title="Other formats",
        explanation="256 x 256 pixels, and 81 frames in one window.",
        measure=formats.measure,
        needs_judge=True,
    ),
}


def runnable(names: list[str], human: bool) -> list[str]:
    """The tasks of `names` that the run includes.

    Raises FileNotFoundError for missing recordings or judge, before any time is spent.
    """
    chosen = [name for name in TASKS if name in names and (human or not TASKS[name].needs_recordings)]
    if human and ("humans" in chosen or "windows" in chosen):
        from tools.pocket.recordings import human_excerpts

        human_excerpts(1, 640, 0)
    if any(TASKS[name].needs_judge for name in chosen) and not JUDGE.exists():
        raise FileNotFoundError(f"the judge's weights are missing: {JUDGE.name}")
    return chosen
