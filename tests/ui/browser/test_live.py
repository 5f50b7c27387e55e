"""A running job of the pocket model: seen again after a reload and from a second tab, stopped half-way."""

import pytest

from tests.ui.browser.person import Person

pytestmark = pytest.mark.browser


def begin_long_job(person: Person) -> int:
    """All of the example's speech: three windows, each of some seconds."""
    person.example()
    for label, value in (("Width", 128), ("Height", 128), ("Steps", 30)):
        person.fill(label, value)
    person.foresees("3 windows")
    return person.generate()


def test_a_reload_and_a_second_tab_show_the_same_job_and_its_video_so_far(pocket: Person) -> None:
    number = begin_long_job(pocket)
    pocket.reaches("Window 2 of 3")
    so_far = pocket.plays("#so-far")
    before = pocket.is_at()
    pocket.open()
    pocket.reaches(f"#{number} ")
    after = pocket.is_at()
    assert after.job == before.job == number and after[1:] >= before[1:]
    assert pocket.plays("#so-far").seconds >= so_far.seconds
    other = pocket.second_tab()
    other.reaches(f"#{number} ")
    seen = other.is_at()
    assert seen.job == number and seen[1:] >= after[1:]
    assert other.numbers() == pocket.numbers()
    other.order(number, "cancel")
    pocket.sees(number, "stopped")


def test_a_job_stopped_in_its_second_window_keeps_the_first_as_a_video(pocket: Person) -> None:
    number = begin_long_job(pocket)
    pocket.reaches("Window 2 of 3")
    pocket.page.locator("#stop").click()
    pocket.sees(number, "stopped")
    pocket.page.locator("#result", has_text=f"#{number} ").wait_for()
    film = pocket.plays()
    assert 0.5 < film.seconds < 2.9 and film.played > 0
    assert "this is what was finished" in pocket.page.locator("#result").inner_text()
    assert "Step" not in pocket.page.locator("#live").inner_text()
