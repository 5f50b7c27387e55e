"""A video's windows on the page: drawn in the speech before it is made, made anew after it: in a browser."""

import pytest

from tests.ui.browser.person import Person

pytestmark = pytest.mark.browser


def test_a_window_is_made_anew_from_the_strip(pocket: Person) -> None:
    page = pocket.page
    pocket.example()
    for label, value in (("Width", 128), ("Height", 128), ("Steps", 3)):
        pocket.fill(label, value)
    pocket.foresees("3 windows")
    page.locator(".waveform .border").nth(1).wait_for(state="attached")
    assert page.locator(".waveform .border").count() == 2 and page.locator(".waveform i").count() == 3
    assert page.locator(".waveform .unused").count() == 0
    pocket.fill("Seconds", 2)
    page.locator(".waveform .unused").wait_for(state="attached")
    assert page.locator(".waveform .border").count() == 1
    number = pocket.generate()
    pocket.sees(number, "done")
    page.locator("#result .timeline li img").nth(1).wait_for()
    first = pocket.plays()
    page.locator("#result [data-action=redo-1]").click()
    page.locator("#queue b", has_text=f"#{number + 1} ").wait_for()
    pocket.sees(number + 1, "done")
    page.locator("#result", has_text=f"#{number + 1} ").wait_for()
    page.locator("#result .timeline li", has_text="Before").wait_for()
    again = pocket.plays()
    assert again.seconds == pytest.approx(first.seconds, abs=1 / 25) and again.played > 0
    page.set_viewport_size({"width": 390, "height": 900})
    assert pocket.spills_over() == []
    made = pocket.studio.store.get(number + 1)
    old = pocket.studio.store.get(number)
    assert made is not None and old is not None
    assert made.request["extends"].endswith(old.result["output"].rpartition("/")[2])
    assert made.request["extends_from"] == made.request["audio_start"] > 0
