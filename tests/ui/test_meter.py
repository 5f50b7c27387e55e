"""The live meter as a visitor reads it."""

import re
from dataclasses import replace

import gradio as gr
import pytest

from tests.jobs.working import wait_for
from ui.job_events import NOTHING_SEEN, look_at_jobs
from ui.language import LANGUAGES, speaking
from ui.meter import meter_html
from ui.parts import Page
from ui.texts import say
from wanvideo.live_meter import CardReading, Reading

GIB = 1 << 30
CARD = CardReading(name="A <card>", used_bytes=6 * GIB, total_bytes=24 * GIB, copied=12.34e9)
ALONE = Reading(cards=(CARD,), ram_used=8 * GIB, ram_total=32 * GIB)
WITHOUT = Reading(cards=(), ram_used=8 * GIB, ram_total=32 * GIB, processor=0.5)


def rows(reading: Reading | None) -> list[list[str]]:
    found = re.findall(r"<li[^>]*>(.*?)</li>", meter_html(reading))
    return [[text for text in re.split(r"<[^>]*>", row) if text] for row in found]


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_thing_has_its_row(language: str) -> None:
    with speaking(language):
        memory = [say("meter_memory"), "8.0 / 32 GB"]
        assert rows(ALONE) == [
            [say("meter_card"), "6.0 / 24 GB"],
            memory,
            [say("meter_copies"), "12.3 GB/s"],
        ]
        assert rows(WITHOUT) == [memory, [say("meter_processor"), "50%"]]
        two = replace(ALONE, cards=(CARD, replace(CARD, used_bytes=0)))
        assert rows(two)[1] == [say("meter_card_of", number=1), "0.0 / 24 GB"]
        assert rows(two)[3] == [say("meter_copies"), "24.7 GB/s"]
    assert "A &lt;card&gt;" in meter_html(ALONE) and "width:25%" in meter_html(ALONE)


def test_what_is_not_known_is_no_number() -> None:
    assert meter_html(None) == ""
    two = replace(ALONE, cards=(CARD, replace(CARD, copied=None)))
    assert rows(two)[3] == [say("meter_copies"), "-"]
    assert rows(replace(WITHOUT, processor=None))[1] == [say("meter_processor"), "-"]


def test_the_clock_shows_it(page: Page) -> None:
    def shown() -> str:
        updates = look_at_jobs(page, gr.State(), dict(NOTHING_SEEN))
        return str(updates.get(page.generation.meter, ""))

    wait_for(lambda: say("meter_memory") in shown(), 60)
