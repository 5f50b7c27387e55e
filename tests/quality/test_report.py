"""From figures to red and the words that mend it."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from tests.test_pipeline import home, plan_of  # noqa: F401  # home is a fixture
from wanvideo.plan import GenerationPlan
from wanvideo.quality.frames import WindowFigures
from wanvideo.quality.report import quality_report

FINE = WindowFigures(colour_mean=0.5, colour_spread=0.4, seam=3.0, change=4.0, still=0.0, flat=0.0)
FIRST = replace(FINE, seam=math.nan)
WORSE = {
    "colour_drift": replace(FINE, colour_mean=9.0),
    "colour_spread": replace(FINE, colour_spread=9.0),
    "seam_jump": replace(FINE, seam=9.0),
    "frozen": replace(FINE, still=30.0),
    "flat": replace(FINE, flat=1.0),
}


@pytest.fixture(scope="module")
def plan(home: Path) -> GenerationPlan:  # noqa: F811
    return plan_of(home, task="talk", image="picture.png", num_frames=13)


def test_a_good_video_has_no_red_figure(plan: GenerationPlan) -> None:
    report = quality_report(plan, (FIRST, FINE), 0.01)
    assert report.faults == ()
    assert [figure.name for figure in report.figures] == [*WORSE, "sound_length"]


@pytest.mark.parametrize("name", WORSE)
def test_each_figure_past_its_limit_says_what_mends_it(plan: GenerationPlan, name: str) -> None:
    report = quality_report(plan, (FIRST, WORSE[name], FINE), 0.0)
    red = [figure for figure in report.figures if figure.is_past]
    assert [figure.name for figure in red] == [name]
    assert report.faults[0].startswith(red[0].what) and report.faults[0].endswith(red[0].fix)
    written = json.loads(json.dumps(report.as_mapping(), allow_nan=False))
    assert {key for key, told in written.items() if told["past"]} == {name}
    assert {key for key, told in written.items() if told["fix"]} == {name}


@pytest.mark.parametrize("difference", [0.05, -0.05])
def test_sound_is_as_long_as_the_pictures(plan: GenerationPlan, difference: float) -> None:
    report = quality_report(plan, (FIRST,), difference)
    assert [figure.name for figure in report.figures if figure.is_past] == ["sound_length"]
    assert "sound_length" not in quality_report(plan, (FIRST,), None).as_mapping()


def test_colour_correction_is_no_advice_to_those_who_have_it(plan: GenerationPlan) -> None:
    drifted = (FIRST, WORSE["colour_drift"])
    without = replace(plan, request=replace(plan.request, color_correction=0.5))
    assert "Colour correction 1" in quality_report(without, drifted, None).faults[0]
    assert "Colour correction" not in quality_report(plan, drifted, None).faults[0]


def test_a_jump_is_measured_by_the_motion_on_both_sides(plan: GenerationPlan) -> None:
    def jumps(*windows: WindowFigures) -> object:
        return quality_report(plan, windows, None).as_mapping()["seam_jump"]["values"]

    lively = replace(FINE, change=12.0)
    assert jumps(FIRST, FINE) == [0.75]
    assert jumps(lively, FINE) == jumps(replace(FIRST, change=1.0), lively) == [0.25]
    calm = replace(FINE, change=0.01, seam=0.3)
    assert jumps(calm, calm) == [0.6], "noise in a video that hardly moves is no jump"


def test_what_nobody_measured_is_unknown(plan: GenerationPlan) -> None:
    unknown = WindowFigures(**dict.fromkeys(WindowFigures.__slots__, math.nan))
    report = quality_report(plan, (unknown, FINE), None).as_mapping()
    assert report["colour_drift"]["values"] == [None, 0.5]
    assert report["seam_jump"]["values"] == [0.75]
    assert quality_report(plan, (), None).figures == ()
