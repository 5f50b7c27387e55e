"""Each task on the pocket model, from the empty page to a video that the browser plays."""

import pytest

from tests.ui.browser.person import GALLERY, IMAGE, TEXT, Person
from tests.ui.running_page import ROOT

pytestmark = pytest.mark.browser
PICTURE = ROOT / "examples" / "cat.png"


def make_small(person: Person, seconds: float) -> None:
    """The least work that the pocket model can be given."""
    for label, value in (("Seconds", seconds), ("Width", 96), ("Height", 96), ("Steps", 2)):
        person.fill(label, value)
    person.foresees("96 × 96")


def check_done(person: Person, number: int, seconds: float) -> None:
    person.sees(number, "done")
    person.page.locator("#result", has_text=f"#{number} ").wait_for()
    film = person.plays()
    assert film.seconds == pytest.approx(seconds, abs=0.2) and film.ready >= 3
    assert film.played > 0 and film.width == 96


def test_an_example_speaks_and_a_reload_still_shows_it(pocket: Person) -> None:
    pocket.example()
    make_small(pocket, 1)
    number = pocket.generate()
    pocket.sees(number, "running")
    check_done(pocket, number, 1)
    pocket.open()
    check_done(pocket, number, 1)


def test_an_uploaded_picture_moves(pocket: Person) -> None:
    pocket.task(IMAGE)
    pocket.upload(PICTURE)
    pocket.fill("Prompt", "an orange cat nods")
    make_small(pocket, 0.7)
    check_done(pocket, pocket.generate(), 0.7)


def test_words_become_a_video_that_the_gallery_gives_back(pocket: Person) -> None:
    pocket.task(TEXT)
    pocket.fill("Prompt", "a red ball bounces in the gallery")
    make_small(pocket, 0.7)
    check_done(pocket, pocket.generate(), 0.7)
    pocket.open()
    pocket.tab(GALLERY)
    pocket.page.locator("#shelf .tile", has_text="in the gallery").click()
    pocket.page.locator("#gallery-card", has_text="a red ball bounces").wait_for()
    assert pocket.plays("#gallery-video").width == 96
    pocket.page.locator("#gallery-reuse").click()
    pocket.foresees("96 × 96")
    assert pocket.reads("Prompt") == "a red ball bounces in the gallery"
    assert (pocket.reads("Steps"), pocket.reads("Width")) == ("2", "96")
