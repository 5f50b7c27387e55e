"""Other sizes and lengths than the native 192 pixels and 33 frames."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tools.pocket.heldout.bench import FRAMES, SIZE, Bench
from tools.pocket.heldout.judging import judge_all, noted
from tools.pocket.heldout.results import Figure, Result, ShownClip, mean, seconds_figure
from tools.pocket.heldout.talking import LEAST_SYNC, speak_all
from tools.pocket.heldout.text import write

LARGE, LONG = 256, 81


def measure(bench: Bench) -> Result:
    """Talk and text to video at 256 pixels, and in one window of 81 frames."""
    few = bench.share(1 / 8)
    large, long = {"width": LARGE, "height": LARGE}, {"num_frames": LONG}
    parts = [
        _talk(bench, f"{LARGE} pixels", bench.share(1 / 4), size=LARGE, asked=large),
        _talk(bench, f"{LONG} frames", few, frames=LONG, asked={"window_frames": LONG}),
        _text(bench, f"{LARGE} pixels", few, asked=large),
        _text(bench, f"{LONG} frames", few, asked=long),
    ]
    return Result(
        figures=tuple(figure for part in parts for figure in part.figures),
        shown=tuple(row for part in parts for row in part.shown),
    )


def _talk(
    bench: Bench,
    name: str,
    count: int,
    *,
    asked: Mapping[str, Any],
    frames: int = FRAMES,
    size: int = SIZE,
) -> Result:
    clips = bench.draw("talk", count, frames=frames, size=size)
    spoken = speak_all(bench, f"formats/talk_{_slug(name)}", clips, asked)
    figures = (
        Figure(what=f"talk, {name}: lip-sync", value=mean(item.sync for item in spoken), at_least=LEAST_SYNC),
        seconds_figure([item.made.seconds for item in spoken], f"talk, {name}: seconds per clip, median"),
    )
    return Result(figures=figures, shown=tuple(_named(item.shown, name) for item in spoken))


def _text(bench: Bench, name: str, count: int, *, asked: Mapping[str, Any]) -> Result:
    captions = bench.draw("shapes", count, frames=1).captions
    made = [
        write(bench, f"formats/text_{_slug(name)}/{index}", caption, index, **asked)
        for index, caption in enumerate(captions)
    ]
    judged = judge_all(captions, [item.video for item in made])
    figures = (
        Figure(
            what=f"text, {name}: right subject and colour", value=judged.share_of_all(("subject", "colour"))
        ),
        Figure(what=f"text, {name}: right motion", value=judged.share("motion")),
        seconds_figure([item.seconds for item in made], f"text, {name}: seconds per clip, median"),
    )
    rows = zip(made, captions, judged.rows, strict=True)
    return Result(
        figures=figures, shown=tuple(_named(noted(item.name, text, row), name) for item, text, row in rows)
    )


def _named(shown: ShownClip, name: str) -> ShownClip:
    return replace(shown, caption=f"{name}: {shown.caption}")


def _slug(name: str) -> str:
    return name.replace(" ", "_")
