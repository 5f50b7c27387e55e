"""The choice of sizes: legal ones with their pixels, what stands in the fields, what a choice fills in."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from tests.ui.test_fields import CPU, start_values
from ui.page import place_parts
from ui.parts import Page
from ui.sizes import AUTOMATIC, SHAPES, fill_size, size_in, size_update
from ui.texts import say
from wanvideo.defaults import NATIVE_SIZES
from wanvideo.geometry import SIZE_STEP, TALK_BUCKETS, quality_tier
from wanvideo.jobs.store import JobStore
from wanvideo.request import TASKS, TEXT_TO_VIDEO


@pytest.fixture
def page(tmp_path: Path) -> Page:
    with gr.Blocks():
        return place_parts(JobStore(tmp_path / "queue.sqlite"), {}, CPU)


def offered(page: Page, **fields: Any) -> tuple[dict[str, str], str]:
    """(value -> words, the chosen value)."""
    given = {page.form[name]: value for name, value in fields.items()}
    update = size_update(page.form, start_values(page.form) | given)
    return {value: words for words, value in update["choices"]}, update["value"]


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("tier", NATIVE_SIZES)
def test_every_size_is_legal_of_its_tier_and_near_its_shape(task: str, tier: int) -> None:
    for ratio in SHAPES.values():
        height, width = size_in(tier, ratio, task)
        assert height % SIZE_STEP == width % SIZE_STEP == 0 and quality_tier(height, width) == tier
        assert height / width == pytest.approx(ratio, rel=0.12)  # the published buckets are coarse
    assert size_in(tier, 1.0, TASKS[0]) in TALK_BUCKETS[tier].values()


def test_published_sizes_are_among_them(page: Page) -> None:
    choices, chosen = offered(page, task=TEXT_TO_VIDEO)
    assert {"832x480", "480x832", "1280x720", "720x1280", AUTOMATIC} <= choices.keys()
    assert "1280 × 720" in choices["1280x720"] and chosen == AUTOMATIC


def test_the_picture_s_own_shape_is_offered_where_there_is_one(page: Page, tmp_path: Path) -> None:
    Image.new("RGB", (900, 300)).save(tmp_path / "wide.png")
    own = say("size_picture")
    choices, _ = offered(page, image=str(tmp_path / "wide.png"))
    assert sum(own in words for words in choices.values()) == len(NATIVE_SIZES)
    for fields in ({"task": TEXT_TO_VIDEO, "image": str(tmp_path / "wide.png")}, {"image": "gone.png"}):
        assert not any(own in words for words in offered(page, **fields)[0].values())


def test_what_is_typed_is_what_is_shown(page: Page) -> None:
    assert offered(page, width="832", height="480")[1] == "832x480"
    choices, chosen = offered(page, width="320", height="176")
    assert chosen == "320x176" and choices[chosen] == "320 × 176"
    assert offered(page, width="320")[1] == AUTOMATIC


def test_a_choice_fills_in_both_fields() -> None:
    assert fill_size("832x480") == ("832", "480")
    assert fill_size(AUTOMATIC) == ("", "")
