"""What is done to jobs in the queue, by mouse and by keyboard; tiny models, as no one looks at the videos."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ui.browser.person import NUMBERS, Person
from wanvideo.request import GenerationRequest

pytestmark = pytest.mark.browser


MANY_STEPS = 400  # a job that is still running when its test is over


def fill_form(person: Person, *, seconds: float = 3, steps: int = 2) -> None:
    """A talking picture, complete but for the click."""
    person.choose_model("tiny_i2v")
    person.example()
    person.fill("Seconds", seconds)
    person.fill("Steps", steps)
    person.foresees(f"{steps} steps")


@pytest.fixture
def held(tiny: Person) -> Iterator[Person]:
    """A filled form before a queue that begins nothing until it is told to."""
    fill_form(tiny, seconds=0.5)
    tiny.page.locator("#hold").click()
    tiny.page.locator("#queue", has_text="Queue (paused)").wait_for()
    yield tiny


def let_go(person: Person) -> None:
    person.page.locator("#hold").click()
    person.page.locator("#queue h3", has_text="Queue").filter(has_not_text="paused").wait_for()


def waiting(person: Person, *numbers: int) -> None:
    """Wait until these jobs stand on top of the queue in this order."""
    same = f"wanted => JSON.stringify({NUMBERS}.slice(0, wanted.length)) === JSON.stringify(wanted)"
    person.page.wait_for_function(same, arg=list(numbers))


def test_waiting_jobs_change_places_and_run_in_the_new_order(held: Person) -> None:
    first, second, third = (held.generate() for _ in range(3))
    waiting(held, first, second, third)
    held.order(third, "up")
    waiting(held, first, third, second)
    held.order(first, "down")
    waiting(held, third, first, second)
    let_go(held)
    for number in (first, second, third):
        held.sees(number, "done")
    jobs = sorted(held.studio.store.list(), key=lambda job: job.started or 0)
    assert [job.id for job in jobs if job.id >= first] == [third, first, second]


def test_a_line_at_the_button_leads_to_the_queue_by_keyboard(held: Person) -> None:
    line = held.page.locator("#queue-line")
    assert not line.is_visible()
    first, second = (held.generate() for _ in range(2))
    held.page.locator("#queue-line", has_text="2 waiting").wait_for()
    held.page.locator("#generate").focus()
    held.page.keyboard.press("Tab")
    assert held.page.evaluate("document.activeElement.closest('#queue-line') !== null")
    held.page.keyboard.press("Enter")
    held.page.wait_for_function("() => document.querySelector('#queue').getBoundingClientRect().top < 200")
    held.page.keyboard.press("Tab")
    assert held.page.evaluate("document.activeElement.closest('#queue li') !== null")
    let_go(held)
    for number in (first, second):
        held.sees(number, "done")
    line.wait_for(state="hidden")


def test_a_waiting_job_is_changed_in_the_form(held: Person) -> None:
    number = held.generate()
    held.order(number, "edit")
    held.page.locator("#generate", has_text=f"Save job #{number}").wait_for()
    held.fill("Prompt", "something else entirely")
    held.page.locator("#generate").click()
    held.row(number).locator("small", has_text="something else entirely").wait_for()
    held.page.locator("#generate", has_text="Generate Video").wait_for()
    let_go(held)
    held.sees(number, "done")
    job = held.studio.store.get(number)
    assert job and job.request["prompt"] == "something else entirely"


def test_a_paused_job_is_passed_over_until_it_is_resumed(held: Person) -> None:
    first, second = held.generate(), held.generate()
    held.order(first, "pause")
    held.sees(first, "paused")
    let_go(held)
    held.sees(second, "done")
    held.sees(first, "paused")
    held.order(first, "resume")
    held.sees(first, "done")


def test_a_running_job_is_paused_and_goes_on_where_it_was(tiny: Person) -> None:
    fill_form(tiny, steps=MANY_STEPS)
    number = tiny.generate()
    tiny.reaches("Step")
    tiny.order(number, "pause")
    tiny.sees(number, "paused")
    tiny.order(number, "resume")
    tiny.sees(number, "running")
    tiny.reaches("Step")


def test_a_failed_job_says_why_and_the_next_one_is_made(tiny: Person, tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_text("no picture at all")
    request = GenerationRequest(task="image_to_video", prompt="nothing", image=str(broken), model="tiny_i2v")
    fill_form(tiny, seconds=0.5)
    failing = tiny.studio.store.add(request, tiny.studio.options())
    tiny.row(failing).wait_for()
    good = tiny.generate()
    tiny.sees(failing, "failed")
    tiny.sees(good, "done")
    assert tiny.plays().seconds == pytest.approx(0.5, abs=0.2)
    tiny.order(failing, "show")
    tiny.page.locator("#result .error", has_text="broken.png").wait_for()
    assert not tiny.page.locator("#video video").is_visible()


def test_keys_queue_and_stop(tiny: Person) -> None:
    fill_form(tiny, steps=MANY_STEPS)
    tiny.field("Prompt").fill("typed, and the field not left")
    number = tiny.generate(press="Control+Enter")
    tiny.reaches("Step")
    tiny.page.locator("#stop").wait_for()
    tiny.page.keyboard.press("Escape")
    tiny.sees(number, "stopped")
    job = tiny.studio.store.get(number)
    assert job and job.request["prompt"] == "typed, and the field not left"
