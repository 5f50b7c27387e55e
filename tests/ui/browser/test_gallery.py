"""Finished videos in the gallery: one is saved in another format, two are compared; in a browser."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.ui.browser.conftest import Visit
from tests.ui.browser.person import GALLERY, PLAY, Film, Person
from tests.ui.browser.studio import Studio
from wanvideo.media.encoding import write_segment
from wanvideo.media.sound import Sound
from wanvideo.media.video import join_segments
from wanvideo.request import read_request, to_mapping

pytestmark = pytest.mark.browser

PHONE = {"viewport": {"width": 390, "height": 844}}
TIMES = "[...document.querySelectorAll('#compare video')].map((video) => video.currentTime)"
APART = 0.12  # seconds: what two players may be apart while both run


def write_result(path: Path, *, prompt: str, seconds: float, seed: int) -> Path:
    """A grey ramp with a tone and settings, in the size of a real one."""
    count = round(25 * seconds)
    levels = np.linspace(30, 220, count).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (count, 192, 192, 3)).copy()
    segment = path.with_name(f".{path.stem}.mp4")
    write_segment(frames, segment, fps=25)
    tone = np.sin(np.arange(16000 * seconds) / 6).astype(np.float32)[:, None] / 4
    request = to_mapping(read_request({"task": "talk", "prompt": prompt, "seed": seed, "image": "/a/b.png"}))
    effective = {"seed": seed, "attention": "sdpa"}
    told = {"comment": json.dumps({"request": request, "effective": effective, "notes": []})}
    sound = Sound(samples=tone, rate=16000)
    made = join_segments([segment], path, fps=25, sound=sound, metadata=told)
    segment.unlink()
    return made


@pytest.fixture
def results(tiny_studio: Studio) -> Iterator[list[Path]]:
    """A short one and a long one."""
    made = [
        write_result(tiny_studio.output / "short.mp4", prompt="a fox speaks", seconds=1.0, seed=3),
        write_result(tiny_studio.output / "long.mp4", prompt="an owl speaks", seconds=2.0, seed=4),
    ]
    yield made
    for path in tiny_studio.output.glob("*.*"):
        if path.stem.startswith(("short", "long")):
            path.unlink()


def choose(person: Person, prompt: str) -> None:
    person.page.locator("#shelf .tile", has_text=prompt).click()


def test_a_result_is_saved_as_webm_and_the_browser_plays_it(tiny: Person, results: list[Path]) -> None:
    page = tiny.page
    tiny.tab(GALLERY)
    choose(tiny, "a fox speaks")
    page.locator("#gallery-card", has_text="a fox speaks").wait_for()
    page.locator("#save-as").click()
    page.locator("#saving", has_text="short.webm").wait_for()
    with page.expect_download() as download:
        page.locator("#save-download").click()
    assert download.value.suggested_filename == "short.webm"
    saved = results[0].with_suffix(".webm")
    assert Path(download.value.path()).read_bytes() == saved.read_bytes()
    address = f"{tiny.studio.address}gradio_api/file={saved}"
    source = "(address) => Object.assign(document.createElement('video'), {src: address})"
    film = Film(*page.evaluate_handle(source, address).evaluate(PLAY))
    assert film.seconds == pytest.approx(1.0, abs=0.04) and film.width == 192 and film.played > 0
    choose(tiny, "an owl speaks")
    page.locator("#gallery-card", has_text="an owl speaks").wait_for()
    assert "short.webm" in page.locator("#saving").inner_text(), "another choice leaves it"


@pytest.mark.parametrize("wishes", [{}, PHONE], ids=["desk", "phone"])
def test_two_results_run_as_one_and_tell_their_differences(
    visit: Visit, tiny_studio: Studio, results: list[Path], wishes: dict[str, object]
) -> None:
    person = visit(tiny_studio, **wishes)
    page = person.page
    person.tab(GALLERY)
    choose(person, "a fox speaks")
    page.locator("#compare-with").click()
    page.locator("#compare", has_text=results[0].name).wait_for()
    choose(person, "an owl speaks")
    videos = page.locator("#compare video")
    videos.nth(1).wait_for()
    table = page.locator("#compare table").inner_text()
    assert "a fox speaks" in table and "Seed" in table and "Attention" not in table
    page.wait_for_function("[...document.querySelectorAll('#compare video')].every((v) => v.readyState >= 3)")
    places = [videos.nth(index).bounding_box() for index in range(2)]
    assert places[0] and places[1]
    assert (places[0]["x"] == places[1]["x"]) == bool(wishes), "side by side, or one under the other"
    page.locator("#compare [data-do=play]").click()
    page.wait_for_function(f"{TIMES}.every((time) => time > 0.3)")
    first, second = page.evaluate(TIMES)
    assert abs(first - second) < APART
    muted = "[...document.querySelectorAll('#compare video')].map((video) => video.muted)"
    assert page.evaluate(muted) == [False, True]
    page.locator("#compare [data-sound='1']").click()
    assert page.evaluate(muted) == [True, False]
    page.wait_for_function("document.querySelectorAll('#compare video')[1].ended")
    assert page.evaluate(TIMES)[0] == pytest.approx(1.0, abs=0.05), "the shorter one waits at its end"
    page.locator("#compare [type=range]").fill("0.52")
    page.wait_for_function(f"{TIMES}.every((time) => Math.abs(time - 0.52) < 0.001)")
    assert person.spills_over() == []
    page.locator("#compare [data-action=close]").click()
    page.locator("#compare section").wait_for(state="detached")
