"""A running job is watched and steered, and what came out of it is used again: in a browser."""

import json

import pytest

from tests.ui.browser.person import Person
from tests.ui.browser.test_live import begin_long_job
from wanvideo.jobs.job import MEMORY
from wanvideo.request import read_request

pytestmark = pytest.mark.browser


def test_a_job_gets_another_attention_and_its_first_windows_go_on(pocket: Person) -> None:
    page, number = pocket.page, begin_long_job(pocket)
    pocket.reaches("Window 1 of 3")
    page.locator("#meter li", has_text="Main memory").wait_for()
    options = page.locator("#attention-now option")
    options.first.wait_for(state="attached")
    assert options.count() > 3 and page.locator("#attention-now option[disabled]").count() > 0
    page.locator("#attention-now select").select_option("auto")
    page.get_by_text("From the next window on: auto").wait_for()
    pocket.reaches("Window 2 of 3")
    pocket.reaches("as was asked")
    job = pocket.studio.store.get(number)
    assert job is not None and job.attention == "auto"
    page.locator("#stop").click()
    pocket.sees(number, "stopped")
    page.locator("#extend").click()
    page.get_by_text("Add the next recording").wait_for()
    page.wait_for_function("document.querySelector('#forecast').textContent.includes('frames')")
    begun = [video for video in page.locator("video").all() if video.is_visible()]
    assert len(begun) == 2, "the result, and in the form the video that is gone on from"


def test_a_job_that_was_too_large_is_made_smaller(tiny: Person) -> None:
    asked = {"task": "text_to_video", "model": "tiny_t2v", "prompt": "a ball", "seed": 5}
    store = tiny.studio.store
    with store.writing() as database:  # where the worker can't take it up
        database.execute("INSERT INTO queue_pause (since) VALUES (0)")
    number = store.add(read_request(asked), tiny.studio.options())
    with store.writing() as database:
        failure = json.dumps({"kind": MEMORY, "width": 1280, "height": 720, "frames": 81})
        database.execute(
            "UPDATE jobs SET state = 'failed', ended = strftime('%s'), error = 'no', failure = ? "
            "WHERE id = ?",
            (failure, number),
        )
    button = tiny.page.locator(f"#result .remedies button[data-job='{number}']", has_text="61 frames")
    button.click()
    tiny.page.wait_for_function(
        f"() => document.querySelector('#queue').textContent.includes('#{number + 1}')"
    )
    made = store.get(number + 1)
    assert made is not None and made.request["num_frames"] == 61 and made.request["seed"] == 5
