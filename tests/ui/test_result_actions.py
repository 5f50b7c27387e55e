"""The buttons of the result: what a finished video can begin, and what would mend a job."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import pytest

from tests.plan_cases import PAIR, SPOKEN, plan
from tests.test_library import REQUEST, write_video
from tests.ui.test_fields import start_values
from tests.ui.test_gallery import finish_job, models, output, page, values_in, view  # noqa: F401  # fixtures
from ui.cards import result_card
from ui.fields import collect
from ui.gallery_events import extend_chosen
from ui.job_events import NOTHING_SEEN, look_at_jobs
from ui.parts import Page
from ui.queue import row_of
from ui.remedies import EVERY_BLOCK, FEW_FRAMES, SMALL_AREA, remedies_for
from ui.result_actions import extend, mend, reuse_job, use_last_frame
from ui.texts import say
from wanvideo.attention.sage3 import BACKENDS
from wanvideo.inputs import inspect_inputs
from wanvideo.jobs.job import ERROR_KINDS, MEMORY, QUEUED, Job
from wanvideo.quality.frames import WindowFigures
from wanvideo.quality.report import quality_report
from wanvideo.request import REQUEST_FIELDS, RuntimeOptions, read_request

TEXT = {"task": "text_to_video", "model": "tiny_t2v", "prompt": "a ball", "seed": 5}
OF_THE_OLD = {"audio", "video", "end_image", "seconds", "num_frames", "width", "height", "fps"}
TALK = {"task": "talk", "prompt": "a", "seed": 5, "seconds": 2.0, "fps": 16.0, "color_correction": 0.5}


@pytest.fixture(autouse=True)
def toasts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    for kind in ("Info", "Warning"):
        monkeypatch.setattr(gr, kind, lambda text, **_: told.append(text))
    return told


def finished(page: Page, output: Path, asked: dict[str, Any], name: str = "a.mp4") -> dict[str, Any]:  # noqa: F811
    """A job with a video; what its visitor sees."""
    finish_job(page, write_video(output / name), read_request(asked), RuntimeOptions(use_tf32=True))
    state = gr.State()
    return dict(look_at_jobs(page, state, dict(NOTHING_SEEN))[state])


def failed(page: Page, asked: dict[str, Any], kind: str, facts: dict[str, int], **options: Any) -> Job:  # noqa: F811
    page.store.add(read_request(asked), RuntimeOptions(**options))
    job = page.store.claim("w")
    assert job is not None
    page.store.fail(job, "It went wrong.", kind, **facts)
    return look(page, job.id)


def look(page: Page, number: int) -> Job:  # noqa: F811
    job = page.store.get(number)
    assert job is not None
    return job


def too_large(
    page: Page,  # noqa: F811
    asked: dict[str, Any],
    size: tuple[int, int, int] = (1280, 720, 81),
    **options: Any,
) -> Job:
    facts = dict(zip(("width", "height", "frames"), size, strict=True))
    return failed(page, asked, MEMORY, facts, **options)


def form_after(page: Page, updates: dict[Any, Any]) -> dict[str, Any]:  # noqa: F811
    return collect(page.form, start_values(page.form) | values_in(page, updates))


def test_the_buttons_are_there_with_a_video(page: Page, output: Path) -> None:  # noqa: F811
    actions = page.generation.actions
    nothing = look_at_jobs(page, gr.State(), dict(NOTHING_SEEN))
    assert not nothing[actions.place]["visible"]
    finished(page, output, TEXT)
    updates = look_at_jobs(page, gr.State(), dict(NOTHING_SEEN))
    assert updates[actions.place]["visible"] and updates[actions.download]["value"] == str(output / "a.mp4")


def test_the_last_frame_and_the_settings_come_back(page: Page, output: Path) -> None:  # noqa: F811
    seen = finished(page, output, {**TALK, "num_inference_steps": 3})
    picture = form_after(page, use_last_frame(page, seen, "talk"))["image"]
    assert Path(picture).is_relative_to(output / "uploads")
    again = form_after(page, reuse_job(page, seen))
    assert (again["num_inference_steps"], again["seed"], again["use_tf32"]) == ("3", -1, True)


@pytest.mark.parametrize(("asked", "task"), [(TALK, "talk"), (TEXT, "image_to_video")])
def test_a_video_goes_on(
    page: Page,  # noqa: F811
    output: Path,  # noqa: F811
    toasts: list[str],
    asked: dict[str, Any],
    task: str,
) -> None:
    seen = finished(page, output, asked)
    updates = extend(page, seen)
    made = form_after(page, updates)
    assert made["task"] == task and made["extends"] == str(output / "a.mp4")
    assert made["prompt"] == asked["prompt"] and made["seed"] == -1 and made["use_tf32"]
    assert "model" not in made and not OF_THE_OLD & set(made)
    assert updates[page.generation.source]["open"] and updates[page.tabs].selected == "generation"
    key = "extend_speech" if task == "talk" else "extend_picture"
    assert toasts == [say(key, name="a.mp4")]
    request, _ = page.read_settings(made)
    assert inspect_inputs(request).old is not None


def test_the_gallery_can_extend_too(page: Page, output: Path) -> None:  # noqa: F811
    write_video(output / "a.mp4")
    values = start_values(page.form)
    made = form_after(page, extend_chosen(page, view(name="a.mp4"), values))
    assert made["extends"] == str(output / "a.mp4") and made["prompt"] == REQUEST["prompt"]
    write_video(output / "plain.mp4", comment="")
    made = form_after(page, extend_chosen(page, view(name="plain.mp4"), values))
    assert made["extends"] == str(output / "plain.mp4") and made["task"] == "talk"


def test_a_video_that_is_gone_is_told(page: Page, output: Path, toasts: list[str]) -> None:  # noqa: F811
    seen = finished(page, output, TALK)
    (output / "a.mp4").unlink()
    for answer in (extend(page, seen), use_last_frame(page, seen, "talk"), reuse_job(page, NOTHING_SEEN)):
        assert set(answer) == {page.tabs}
    assert len(toasts) == 3


def names(job: Job) -> list[str]:
    return [remedy.name for remedy in remedies_for(job)]


def test_a_job_that_was_too_large_can_be_smaller(page: Page) -> None:  # noqa: F811
    job = too_large(page, TEXT)
    assert names(job) == ["swap", "size", "frames"]
    _, size, frames = remedies_for(job)
    width, height = size.settings["width"], size.settings["height"]
    assert width * height <= SMALL_AREA and (width % 16, height % 16) == (0, 0) and width > height
    assert frames.settings == {"num_frames": FEW_FRAMES, "seconds": None}
    square = too_large(page, TEXT, (1024, 1152, 81))
    assert remedies_for(square)[1].settings == {"width": 512, "height": 576}
    talk = too_large(page, TALK)
    assert remedies_for(talk)[2].settings == {"window_frames": FEW_FRAMES}
    assert re.findall(r"data-action='(\w+)' data-job='(\d+)'", result_card(job)) == [
        (name, str(job.id)) for name in names(job)
    ]


def test_what_would_change_nothing_is_not_offered(page: Page) -> None:  # noqa: F811
    small = too_large(page, TEXT, (512, 576, 61), blocks_to_swap=EVERY_BLOCK)
    going_on = too_large(page, {**TALK, "extends": "old.mp4"})
    assert names(small) == [] and "size" not in names(going_on)


@pytest.mark.parametrize("kind", ERROR_KINDS)
def test_remedies_are_those_of_the_kind_of_error(page: Page, kind: str) -> None:  # noqa: F811
    job = failed(page, TEXT, kind, {"width": 1280, "height": 720, "frames": 81})
    assert bool(names(job)) == (kind == MEMORY) == ("remedies" in result_card(job))


@pytest.mark.parametrize("name", ["swap", "size", "frames"])
def test_a_remedy_is_a_new_job_and_in_the_form(page: Page, toasts: list[str], name: str) -> None:  # noqa: F811
    job = too_large(page, {**TEXT, "seconds": 2.0})
    updates = mend(page, SimpleNamespace(action=name, job=job.id))
    (made,) = (other for other in page.store.list() if other.state == QUEUED)
    settings = next(remedy.settings for remedy in remedies_for(job) if remedy.name == name)
    held = form_after(page, updates)
    for field, value in settings.items():
        part = made.request if field in REQUEST_FIELDS else made.options
        assert part.get(field) == value
        assert held.get(field) == (None if value is None else str(value))
    assert made.request["seed"] == 5 == held["seed"]
    assert made.options["models_dir"] == page.folders["models_dir"]
    assert toasts == [say("queued_one", first=made.id)]


def test_a_remedy_that_can_t_be_is_told(page: Page, toasts: list[str]) -> None:  # noqa: F811
    job = too_large(page, {**TEXT, "model": "gone"})
    assert set(mend(page, SimpleNamespace(action="swap", job=job.id))) == {page.tabs}
    assert len(toasts) == 1 and len(page.store.list()) == 1
    assert set(mend(page, SimpleNamespace(action="nothing", job=job.id))) == {page.tabs}
    with pytest.raises(KeyError):
        row_of(SimpleNamespace(action="swap", job=job.id))


BAD = WindowFigures(colour_mean=9.0, colour_spread=9.0, seam=90.0, change=1.0, still=99, flat=4)


def test_a_video_past_its_limits_offers_the_settings_that_mend_it(page: Page) -> None:  # noqa: F811
    """The report is the engine's own, of the plan of a job with soft colours and a 4-bit attention."""
    made = plan({**PAIR, "color_correction": 0.5, "steps": 6}, SPOKEN)
    report = quality_report(made, [BAD, BAD], None).as_mapping()
    result = {"output": "a.mp4", "notes": [], "quality": report, "stages": {}, "seconds": 1.0}
    fp4 = next(row for row in BACKENDS if row.fallback == "sageattn_3_fp8")
    result["effective"] = {**made.effective(), "attention": fp4.name}
    page.store.add(read_request({**TALK}), RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None
    page.store.finish(job, result)
    job = look(page, job.id)
    found = {remedy.name: remedy.settings for remedy in remedies_for(job)}
    assert found == {
        "colour": {"color_correction": 1.0},
        "steps": {"num_inference_steps": 9},
        "motion": {"motion_frames": made.settings.motion_frames + 4},
        "attention": {"attention": "sageattn_3_fp8"},
    }
    assert say("remedy_steps", steps=9) in result_card(job)
    fine = replace(
        job, result={**job.result, "quality": {name: {**f, "past": False} for name, f in report.items()}}
    )
    assert remedies_for(fine) == ()
