"""Video from text: does it show who and what the prompt names."""

from collections.abc import Sequence
from typing import Any

from tools.pocket.dataset import Clips
from tools.pocket.heldout.bench import Bench, Made, make
from tools.pocket.heldout.judging import Judged, ceiling, judge_all, noted
from tools.pocket.heldout.results import Figure, Result, seconds_figure
from wanvideo.request import TEXT_TO_VIDEO

LEAST_SUBJECT_AND_COLOUR, LEAST_MOTION = 0.90, 0.70
# How many prompts of a kind, as a part of the run's clips.
MIX = {"shapes": 1.0, "talk": 0.5, "motion": 0.5}


def measure(bench: Bench) -> Result:
    """Prompts of the grammar in the mix above, and what the judge says of drawn clips of the same prompts."""
    drawn = {kind: bench.draw(kind, bench.share(part)) for kind, part in MIX.items()}
    captions = [caption for clips in drawn.values() for caption in clips.captions]
    made = [write(bench, f"text/{index}", caption, index) for index, caption in enumerate(captions)]
    judged = judge_all(captions, [item.video for item in made])
    best = _joined([ceiling(bench, clips) for clips in drawn.values()])
    return Result(
        figures=(
            *_figures(judged, limited=True),
            *_figures(best, limited=False),
            *(_kind_figure(kind, rows) for kind, rows in _split(judged, drawn).items()),
            seconds_figure([item.seconds for item in made]),
        ),
        shown=tuple(
            noted(item.name, text, row) for item, text, row in zip(made, captions, judged.rows, strict=True)
        ),
    )


def write(bench: Bench, name: str, caption: str, seed: int, **asked: Any) -> Made:
    """One clip from a caption; `asked` is added to the request."""
    return make(bench, f"{name}.mp4", {"task": TEXT_TO_VIDEO, "prompt": caption, "seed": seed, **asked})


def _figures(judged: Judged, *, limited: bool) -> list[Figure]:
    """Shares of right clips: the pocket model's, which have limits, or those of drawn clips."""
    whose = "" if limited else ", drawn clips"
    least = {
        "right subject": LEAST_SUBJECT_AND_COLOUR,
        "right colour": LEAST_SUBJECT_AND_COLOUR,
        "right subject and colour": LEAST_SUBJECT_AND_COLOUR,
        "the same, child or adult not counted": LEAST_SUBJECT_AND_COLOUR,
        "right motion": LEAST_MOTION,
    }
    values = {
        "right subject": judged.share("subject"),
        "right colour": judged.share("colour"),
        "right subject and colour": judged.share_of_all(("subject", "colour")),
        "the same, child or adult not counted": judged.share_of_all(("kin", "colour")),
        "right motion": judged.share("motion"),
    }
    return [
        Figure(what=what + whose, value=value, at_least=least[what] if limited else None)
        for what, value in values.items()
    ]


def _kind_figure(kind: str, judged: Judged) -> Figure:
    return Figure(
        what=f"right subject and colour, {kind} prompts", value=judged.share_of_all(("subject", "colour"))
    )


def _split(judged: Judged, drawn: dict[str, Clips]) -> dict[str, Judged]:
    """The verdicts by kind of prompt."""
    rows, parts = list(judged.rows), {}
    for kind, clips in drawn.items():
        count = len(clips.captions)
        parts[kind], rows = Judged(rows=tuple(rows[:count])), rows[count:]
    return parts


def _joined(parts: Sequence[Judged]) -> Judged:
    return Judged(rows=tuple(row for part in parts for row in part.rows))
