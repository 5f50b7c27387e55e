"""The form and its tabs: presets, the inputs of each task, and a page that fits its window."""

from pathlib import Path

import pytest
from PIL import Image

from tests.ui.browser.conftest import Visit
from tests.ui.browser.person import (
    FILES,
    GALLERY,
    GENERATION,
    IMAGE,
    MODELS,
    SYSTEM,
    TALK,
    TEXT,
    Person,
)
from tests.ui.browser.studio import Studio

pytestmark = pytest.mark.browser
# What tells that a tab has been filled by the server.
FILLED = {
    GENERATION: "#forecast p",
    MODELS: "#found td",
    FILES: "#recipes li",
    GALLERY: "#shelf p",
    SYSTEM: "#probes td",
}


def test_a_task_shows_only_its_inputs(tiny: Person) -> None:
    tiny.task(TEXT)
    tiny.foresees("Write what happens")
    shown = tiny.page.locator(".columns").first.inner_text()
    assert "Speech" not in shown and "Picture" not in shown and "Prompt" in shown


def test_a_preset_fills_the_form_and_one_s_own_outlives_a_reload(tiny: Person) -> None:
    tiny.example()
    tiny.tab(MODELS)
    tiny.choose("#preset", "InfiniteTalk FP4 test")
    tiny.page.locator("#preset-card", has_text="16 a second").wait_for()
    tiny.page.locator("#apply").click()
    tiny.page.wait_for_function("document.querySelector('#memory input:not([type=checkbox])').value === '40'")
    own = tiny.page.locator("#my-presets")
    own.get_by_role("button").first.click()
    own.locator("textarea, input").first.fill("Mine")
    tiny.page.locator("#preset-save").click()
    tiny.page.wait_for_function("document.querySelector('#preset input').value.includes('Mine')")
    tiny.open()
    tiny.tab(MODELS)
    tiny.choose("#preset", "Mine")
    own.get_by_role("button").first.click()
    tiny.page.locator("#preset-delete").click()
    tiny.page.wait_for_function("document.querySelector('#preset input').value.includes('Recommended')")


@pytest.mark.parametrize("language", ("en", "zh"))
@pytest.mark.parametrize("width", (1280, 390))
def test_every_tab_fills_and_fits_its_window(
    visit: Visit, tiny_studio: Studio, width: int, language: str
) -> None:
    person = visit(tiny_studio, viewport={"width": width, "height": 900}, locale=language)
    person.page.locator(f"html[lang={language}]").wait_for()
    for number, filled in FILLED.items():
        person.tab(number)
        person.page.locator(filled).first.wait_for()
        assert not person.spills_over(), f"tab {number} at {width} pixels"


def test_the_language_is_switched_with_the_form_kept_and_a_job_running(tiny: Person) -> None:
    tiny.choose_model("tiny_i2v")
    tiny.example()
    tiny.fill("Steps", 400)
    tiny.fill("Prompt", "words that stay")
    number = tiny.generate()
    tiny.reaches("Step")
    tiny.switch_language("zh")
    assert tiny.page.locator("#generate").inner_text() == "生成视频"
    assert tiny.reads("提示词") == "words that stay"
    tiny.page.locator("#live", has_text=f"#{number} 说话").wait_for()
    tiny.open()
    assert tiny.page.locator("#generate").inner_text() == "生成视频"
    tiny.switch_language("en")
    assert tiny.page.locator("#generate").inner_text() == "Generate Video"
    tiny.reaches("Step")


def test_a_reload_keeps_each_task_s_form(tiny: Person) -> None:
    tiny.fill("Seconds", 2)
    tiny.task(TEXT)
    tiny.fill("Prompt", "a star")
    tiny.fill("Seconds", 0.5)
    tiny.foresees(" frames ")
    tiny.open()
    assert (tiny.reads("Prompt"), tiny.reads("Seconds")) == ("a star", "0.5")
    tiny.task(TALK)
    assert tiny.reads("Seconds") == "2"


def test_a_reload_keeps_a_batch_until_it_became_jobs(tiny: Person, tmp_path: Path) -> None:
    batch = tiny.page.locator("#batch")
    Image.new("RGB", (64, 64), "teal").save(tmp_path / "teal.png")
    tiny.choose_model("tiny_i2v")
    tiny.task(IMAGE)
    batch.locator("button").first.click()
    batch.locator("input[type=file]").set_input_files(tmp_path / "teal.png")
    batch.get_by_text("teal", exact=False).first.wait_for()
    tiny.fill("Seeds", "3, 4")
    tiny.foresees("2 videos")
    tiny.open()
    tiny.foresees("2 videos")
    assert tiny.reads("Seeds") == "3, 4" and batch.get_by_text("teal", exact=False).first.is_visible()
    tiny.page.locator("#hold").click()  # where the worker can't take them up
    tiny.page.locator("#queue", has_text="Queue (paused)").wait_for()
    tiny.generate()
    tiny.open()
    assert "videos" not in tiny.page.locator("#forecast").inner_text()
    assert not batch.get_by_text("teal", exact=False).count()


@pytest.mark.parametrize("scheme", ("light", "dark"))
def test_the_page_follows_the_colours_of_the_machine(visit: Visit, tiny_studio: Studio, scheme: str) -> None:
    person = visit(tiny_studio, color_scheme=scheme)
    light = person.page.evaluate(
        "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)"
    )
    assert (min(light) > 200) == (scheme == "light")
