"""The page as a visitor meets it: built, watched, used, started. Without a browser."""

from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.plan_cases import plan
from tests.ui.test_fields import CARD, CPU, start_values
from ui import texts
from ui.cards import as_sentence
from ui.events import show_task
from ui.examples import EXAMPLES, example_rows
from ui.forecast import forecast_html, missing_input, show_forecast
from ui.generation import EXAMPLES as EXAMPLES_FOLDER
from ui.job_events import NOTHING_SEEN, add_jobs, look_at_jobs, stop_running
from ui.model_settings import (
    attention_guide,
    find_checkpoints,
    found_card,
    machine_card,
    machine_line,
    quantization_guide,
)
from ui.page import build_page
from ui.parts import Page
from wanvideo.errors import UserError
from wanvideo.jobs.job import QUEUED
from wanvideo.jobs.store import JobStore
from wanvideo.memory_plan import Forecast, StageForecast
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import GenerationRequest, RuntimeOptions

ROOT = Path(__file__).parents[2]
VIEW: dict[str, Any] = dict(NOTHING_SEEN)


def test_the_whole_page_builds_with_its_events(tmp_path: Path) -> None:
    blocks = build_page(JobStore(tmp_path / "queue.sqlite"), {}, CPU)
    assert blocks.config["dependencies"]


def test_a_newcomer_is_told_what_to_add(page: Page) -> None:
    updates = show_forecast(page, start_values(page.form))
    assert texts.say("needs_talk") in updates[page.generation.forecast]


def test_the_forecast_says_what_will_be_made(page: Page, values: dict[Any, Any]) -> None:
    updates = show_forecast(page, values | {page.form["count"]: 3})
    line = updates[page.generation.forecast]
    assert "9 frames at 16 fps" in line and "64 × 64" in line and "2 steps" in line and "3 videos" in line
    assert updates[page.form["num_inference_steps"]]["placeholder"].startswith("2 ")
    assert "64 x 64" in updates[page.models.plan]
    assert str(page.folders["models_dir"]) not in updates[page.models.plan]


def test_the_forecast_says_what_it_takes() -> None:
    stages = {
        "denoise": StageForecast(device_bytes=12 << 30, seconds=100),
        "decode": StageForecast(device_bytes=3 << 30, seconds=25.4),
    }
    foreseen = Forecast(stages=stages, host_bytes=9 << 30, disk_bytes=20 << 20, calibrated=True)
    made = replace(plan({"task": "text_to_video"}), forecast=foreseen)
    line = forecast_html(made, 1)
    assert escape("about 12.0 GB of the card's memory · 20 MB on disk · about 2 min 05 s") in line
    assert texts.say("forecast_guess") not in line and "main memory" not in line
    several = forecast_html(replace(made, forecast=replace(foreseen, calibrated=False)), 4)
    assert "80 MB on disk · about 8 min 22 s" in several and texts.say("forecast_guess") in several
    on_cpu = Forecast(stages={"denoise": StageForecast(seconds=0.2)}, host_bytes=9 << 30)
    assert "about 9.0 GB of main memory · about 1 s" in forecast_html(replace(made, forecast=on_cpu), 1)
    assert forecast_html(replace(made, forecast=Forecast()), 1).count("<p") == 1


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [
        ("width", "17", "multiple of 16"),
        ("num_inference_steps", "many", "whole number"),
        ("model", "nix", "nix"),
    ],
)
def test_a_bad_value_is_answered_in_a_sentence(
    page: Page, values: dict[Any, Any], name: str, typed: str, said: str
) -> None:
    values = values | {page.form["width"]: "64", page.form["height"]: "64", page.form[name]: typed}
    said_there = show_forecast(page, values)[page.generation.forecast]
    assert "problem" in said_there and said in said_there
    with pytest.warns(UserWarning, match=said):  # what gradio makes of a toast outside a request
        add_jobs(page, values)
    assert not page.store.list(), "nothing is queued that can't run"


def test_generate_queues_what_the_form_says(page: Page, values: dict[Any, Any]) -> None:
    add_jobs(page, values | {page.form["count"]: 2, page.form["seed"]: 4})
    jobs = page.store.list()
    assert [job.request["seed"] for job in jobs] == [5, 4]
    assert {job.state for job in jobs} == {QUEUED}
    assert jobs[0].options["output_dir"] == page.folders["output_dir"]


def test_a_random_seed_is_drawn_when_the_job_is_queued(page: Page, values: dict[Any, Any]) -> None:
    add_jobs(page, values)
    (job,) = page.store.list()
    assert job.request["seed"] >= 0 and job.request.get("count", 1) == 1


def test_a_running_job_stays_on_the_page_behind_many_newer_ones(page: Page) -> None:
    for _ in range(60):
        page.store.add(GenerationRequest(), RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None
    seen = look_at_jobs(page, gr.State(), VIEW)
    assert f"#{job.id} " in seen[page.generation.live] and seen[page.generation.stop]["visible"]
    stop_running(page)
    assert not page.store.may_continue(job)


def test_a_preview_that_cannot_be_read_leaves_the_strip_as_it_is(page: Page, tmp_path: Path) -> None:
    page.store.add(GenerationRequest(), RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None
    page.store.progress(job, {"stage": "denoise"}, tmp_path)  # reading a folder is an OSError
    assert "Denoising" in look_at_jobs(page, gr.State(), VIEW)[page.generation.live]


@pytest.mark.parametrize(("task", "is_enough"), [("talk", True), ("image_to_video", False)])
def test_a_source_video_is_enough_only_where_it_takes_the_place_of_the_picture(
    page: Page, task: str, is_enough: bool
) -> None:
    form = page.form
    given = start_values(form) | {form["task"]: task, form["video"]: "some.mp4"}
    assert bool(missing_input(page, given)) != is_enough
    note = show_task(page, task)[page.generation.source_note]
    assert ("takes the place" in note) == is_enough


def test_only_changed_cards_are_sent_and_everything_is_escaped(page: Page, values: dict[Any, Any]) -> None:
    state = gr.State()
    add_jobs(page, values)
    first = look_at_jobs(page, state, VIEW)
    queue = first[page.generation.queue]
    assert escape("a <red> ball") in queue and "<red>" not in queue
    again = look_at_jobs(page, state, first[state])
    assert set(again) == {state}
    page.store.request_stop(1)
    assert page.generation.queue in look_at_jobs(page, state, again[state])


def test_a_failed_job_shows_its_sentence_and_the_visitor_s_choice_stays(page: Page) -> None:
    state = gr.State()
    for number in range(2):
        page.store.add(GenerationRequest(prompt=f"job {number}"), RuntimeOptions())
        job = page.store.claim("w")
        assert job is not None
        page.store.fail(job, f"reason <{number}>")
    seen = look_at_jobs(page, state, VIEW)
    assert "Reason &lt;1&gt;" in seen[page.generation.result]
    chosen = look_at_jobs(page, state, {**seen[state], "shown": 1})
    assert "Reason &lt;0&gt;" in chosen[page.generation.result]
    page.store.add(GenerationRequest(), RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None
    page.store.fail(job, "newest")
    assert "Newest" in look_at_jobs(page, state, chosen[state])[page.generation.result]


def test_a_running_job_shows_its_progress(page: Page) -> None:
    page.store.add(GenerationRequest(), RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None
    shown = {"stage": "denoise", "window": 1, "windows": 3, "step": 2, "steps": 4, "fraction": 0.5}
    page.store.progress(job, {**shown, "seconds_per_step": 0.25, "eta": 90})
    live = look_at_jobs(page, gr.State(), VIEW)[page.generation.live]
    for part in ("Denoising", "Window 2 of 3", "Step 2 of 4", "0.25 s per step", "1 min 30 s left", "50.0%"):
        assert part in live


def test_guides_list_every_option_with_its_reason_here() -> None:
    for guide, table in ((attention_guide, attention_backends()), (quantization_guide, quantization_modes())):
        for row in table.values():
            assert row.name in guide(CPU)
            assert escape(row.unavailable_reason(CPU) or "usable") in guide(CPU)


def test_the_machine_is_described() -> None:
    assert "A &lt;processor&gt;" in machine_card(CPU) and "2 cores" in machine_line(CPU)
    with_card = type(CPU)(gpus=(CARD,), cpu="", cores=1, ram_bytes=1, free_ram_bytes=1, system="")
    assert "8.9" in machine_card(with_card) and "16 GB" in machine_line(with_card)


def test_no_checkpoint_is_said_so() -> None:
    assert texts.say("models_found_none") in found_card([], [])


def test_a_file_that_is_no_model_is_listed_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "lora<1>.safetensors").write_bytes(b"no header")
    usable, refused = find_checkpoints(RuntimeOptions(models_dir=str(tmp_path)))
    (refusal,) = (one for one in refused if one.path.parent == tmp_path)
    found = found_card(usable, refused)
    assert texts.say("models_refused") in found and escape(as_sentence(refusal.sentence)) in found


def test_the_page_opens_no_model_outside_its_folders(
    page: Page, values: dict[Any, Any], models: Path
) -> None:
    for outside in (str(models / "tiny_t2v.safetensors"), str(models), "../models", "tiny_vae"):
        with pytest.raises(UserError, match="unknown model"):
            page.read(values | {page.form["model"]: outside})
    assert page.read(values)[0].model == "tiny_t2v"
    assert not page.form["model"].allow_custom_value


@pytest.mark.skipif(not EXAMPLES_FOLDER.exists(), reason="no examples are bundled")
def test_every_example_has_its_files() -> None:
    assert len(example_rows(EXAMPLES_FOLDER)) == len(EXAMPLES)
