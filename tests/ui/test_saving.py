"""Save as in the Gallery tab: begun by a click, watched by ticks, given as a download, in both languages."""
# ruff: noqa: F811 - the fixtures of the gallery are imported

import time
from pathlib import Path

import gradio as gr
import pytest

from tests.test_library import write_video
from tests.ui.test_gallery import models, output, page, told, view  # noqa: F401  # fixtures
from ui.language import LANGUAGES, speaking
from ui.parts import Page
from ui.saving import format_names
from ui.saving_events import look_at_export, save_as, saving_card
from wanvideo.library.exporting import DONE, FAILED, RUNNING, STOPPED, Exporting
from wanvideo.library.formats import FORMATS
from wanvideo.media.probe import probe_video


@pytest.fixture
def timer() -> gr.Timer:
    return gr.Timer(active=False)


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_format_has_a_name(language: str) -> None:
    with speaking(language):
        names = format_names()
    assert set(names) == set(FORMATS) and len(set(names.values())) == len(FORMATS)


def test_the_chosen_video_is_saved_and_given_as_a_download(page: Page, output: Path, timer: gr.Timer) -> None:
    write_video(output / "a.mp4")
    part = page.gallery.saving
    nothing = look_at_export(page, timer)
    assert nothing[part.state] == "" and not nothing[part.download]["visible"] and not nothing[timer].active
    begun = save_as(page, timer, view(name="a.mp4"), "webm")
    assert begun[timer].active and begun[part.stop]["visible"] and "class='bar'" in begun[part.state]
    end = time.monotonic() + 60
    while (now := look_at_export(page, timer))[timer].active:
        assert time.monotonic() < end and not now[part.download]["visible"]
        time.sleep(0.05)
    assert now[part.download]["visible"] and now[part.download]["value"] == str(output / "a.webm")
    assert "a.webm" in now[part.state] and not now[part.stop]["visible"]
    assert probe_video(output / "a.webm").frames == probe_video(output / "a.mp4").frames
    (output / "a.webm").unlink()
    assert not look_at_export(page, timer)[part.download]["visible"]


def test_a_video_that_is_gone_is_told_and_not_begun(
    page: Page, output: Path, timer: gr.Timer, told: list[str]
) -> None:
    for name in (None, "gone.mp4", "../a.mp4"):
        assert not save_as(page, timer, view(name=name), "webm")[timer].active
    assert len(told) == 3 and not list(output.glob("*.webm"))


@pytest.mark.parametrize(
    ("now", "shown"),
    [
        (Exporting(state=RUNNING, video="<b>.mp4", format="gif", fraction=0.4), "40 %"),
        (Exporting(state=RUNNING, video="<b>.mp4", format="gif", stopping=True), "Stopping."),
        (Exporting(state=STOPPED, video="<b>.mp4", format="gif"), "Nothing of it is kept"),
        (Exporting(state=FAILED, video="<b>.mp4", format="gif", error="the <b> disk"), "The &lt;b&gt; disk"),
        (
            Exporting(state=DONE, video="<b>.mp4", format="gif", output=Path("/no/<b>.gif")),
            "not in the output",
        ),
    ],
)
def test_how_it_stands_is_told_and_escaped(now: Exporting, shown: str) -> None:
    html = saving_card(now)
    assert shown in html and "<b>" not in html and "&lt;b&gt;.mp4" in html
