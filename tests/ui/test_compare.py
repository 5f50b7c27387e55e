"""Two results beside each other: how the second one is chosen, and the settings in which they differ."""
# ruff: noqa: F811 - the fixtures of the gallery are imported

import re
from pathlib import Path
from urllib.parse import unquote

import gradio as gr

from tests.test_library import COMMENT, EFFECTIVE, REQUEST, write_video
from tests.ui.test_gallery import models, output, page, told, view  # noqa: F401  # fixtures
from ui.compare import NOTHING, asked_differences, ran_differences
from ui.compare_events import compare_two, pick_second
from ui.gallery_events import delete_chosen
from ui.language import speaking
from ui.parts import Page
from wanvideo.fields import LoraChoice
from wanvideo.library.settings import VideoSettings

OTHER = {
    **COMMENT,
    "request": {**REQUEST, "seed": 8, "num_inference_steps": 6},
    "effective": {**EFFECTIVE, "seed": 8, "attention": "flash", "steps": 6},
}


def rows_of(html: str) -> list[tuple[str, ...]]:
    rows = re.findall(r"<tr>((?:<td>.*?</td>)+)</tr>", html)
    return [tuple(re.findall(r"<td>(.*?)</td>", row)) for row in rows]


def test_two_tiles_are_chosen_one_after_the_other(page: Page, output: Path, told: list[str]) -> None:
    write_video(output / "one two#.mp4")
    write_video(output / "b.mp4", OTHER, seconds=1.0)
    state, card = gr.State(), page.gallery.compare
    picking = pick_second(page, state, view(name="one two#.mp4"))
    assert picking[state]["first"] == "one two#.mp4" and "one two#.mp4" in picking[card]
    assert (
        compare_two(page, state, picking[state], "one two#.mp4") == {state: picking[state]} and len(told) == 1
    )
    both = compare_two(page, state, picking[state], "b.mp4")
    assert both[state]["first"] is None and both[state]["name"] == "one two#.mp4"
    sources = re.findall(r"<video src='gradio_api/file=([^']*)'", both[card])
    assert "#" not in sources[0] and " " not in sources[0]
    assert list(map(unquote, sources)) == [str(output / "one two#.mp4"), str(output / "b.mp4")]
    assert ("Seed", "7", "8") in rows_of(both[card]) and "max='1.000'" in both[card]
    assert "data-sound" not in both[card], "both are silent"


def test_what_is_gone_is_told_and_a_deletion_closes_the_card(
    page: Page, output: Path, told: list[str]
) -> None:
    write_video(output / "a.mp4")
    state = gr.State()
    for seen, second in ((view(first="a.mp4"), "gone.mp4"), (view(first="gone.mp4"), "a.mp4")):
        assert compare_two(page, state, seen, second) == {state: seen}
    assert pick_second(page, state, view()) == {state: view()} and len(told) == 3
    after = delete_chosen(page, state, "", view(name="a.mp4", first="a.mp4"))
    assert after[page.gallery.compare] == "" and after[state]["first"] is None


def test_only_differences_are_listed_under_the_names_of_the_form() -> None:
    one = VideoSettings(
        request={"task": "talk", "prompt": "p", "seed": 7, "audio": ("/a/x.wav",)},
        effective={"seed": "7", "flow shift": "5", "attention": "sdpa", "old": "1"},
    )
    two = VideoSettings(
        request={"task": "text_to_video", "prompt": "p", "seed": 8, "num_inference_steps": 6},
        effective={"seed": "8", "flow shift": "5", "attention": "flash", "new": "1"},
    )
    assert asked_differences(one, two) == [
        ("Task", "Talk", "Text"),
        ("Speech", "x.wav", NOTHING),
        ("Steps", "automatic", "6"),
        ("Seed", "7", "8"),
    ]
    assert ran_differences(one, two) == [("Seed", "7", "8"), ("Attention Mode", "sdpa", "flash")]
    with speaking("zh"):
        assert ran_differences(one, two)[0][0] == "种子"


def test_a_default_that_was_written_out_is_no_difference() -> None:
    named = VideoSettings(
        request={"color_correction": 1.0, "loras": (LoraChoice(file="/x/a", strength=0.5),)}
    )
    bare = VideoSettings(request={"loras": (LoraChoice(file="a", strength=0.5),)})
    assert asked_differences(named, bare) == []


def test_hostile_settings_are_escaped_and_missing_ones_are_told(page: Page, output: Path) -> None:
    hostile = {"request": {**REQUEST, "prompt": "<script>"}, "effective": {"<i>": "<b>", "x": "1"}}
    write_video(output / "a.mp4", hostile)
    write_video(output / "b.mp4", {**hostile, "effective": {"<i>": "<u>"}, "request": REQUEST})
    write_video(output / "plain.mp4", "")
    state, card = gr.State(), page.gallery.compare
    html = compare_two(page, state, view(first="a.mp4"), "b.mp4")[card]
    assert not re.search(r"<(script|i|u|b)>[^AB]", html) and "&lt;script&gt;" in html and "&lt;u&gt;" in html
    html = compare_two(page, state, view(first="a.mp4"), "plain.mp4")[card]
    assert "plain.mp4 holds no settings" in html and "<table>" not in html


def test_equal_settings_are_said_to_be_equal(page: Page, output: Path) -> None:
    write_video(output / "a.mp4")
    write_video(output / "b.mp4")
    html = compare_two(page, gr.State(), view(first="a.mp4"), "b.mp4")[page.gallery.compare]
    assert "same settings" in html and "<table>" not in html
