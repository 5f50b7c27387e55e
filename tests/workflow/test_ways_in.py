"""A workflow on the command line and on the page."""

import json
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.media.media_files import picture, write_sound
from tests.ui.test_fields import CPU, start_values
from tests.workflow.formats import Sketch, as_api, as_canvas, write
from tests.workflow.sample_talk import infinite_talk
from tests.workflow.sample_workflows import sampler, text_to_video
from ui.fields import MOST_LORAS, collect
from ui.page import place_parts
from ui.parts import Page
from ui.workflow import report_html
from ui.workflow_events import take_workflow
from wanvideo.cli import main
from wanvideo.fields import LoraChoice
from wanvideo.jobs.store import JobStore
from wanvideo.workflow.report import OUTCOMES, Line, WorkflowImport

Streams = pytest.CaptureFixture[str]
TINY = {"model": "tiny_t2v.safetensors", "base_precision": "fp32", "quantization": "disabled"}


def tiny_text() -> dict[str, Sketch]:
    """A workflow that the tiny models can plan."""
    first = {"steps": 3, "cfg": 2.5, "shift": 4, "seed": 5}
    return {
        "1": Sketch(kind="WanVideoModelLoader", widgets=TINY),
        "2": Sketch(kind="WanVideoTextEncode", widgets={"positive_prompt": "a ball", "negative_prompt": "b"}),
        "3": Sketch(kind="WanVideoEmptyEmbeds", widgets={"width": 64, "height": 64, "num_frames": 9}),
        "4": sampler(first, model="1", text="2", images="3"),
    }


@pytest.fixture
def page(tmp_path: Path, models: Path) -> Page:
    with gr.Blocks():
        return place_parts(JobStore(tmp_path / "queue.sqlite"), {"models_dir": str(models)}, CPU)


def taken(page: Page, path: Path, **typed: Any) -> tuple[dict[str, Any], str]:
    """(the form's settings after the workflow was dropped, its report)."""
    named = {page.form[name]: value for name, value in typed.items()}
    values = start_values(page.form) | {page.form["task"]: "talk"} | named
    updates = take_workflow(page, str(path), values[page.form["task"]])
    report = updates.pop(page.workflow.report)
    assert updates.keys() <= page.form.components
    return collect(page.form, values | updates), report


def test_the_form_is_filled_and_can_be_read(page: Page, tmp_path: Path) -> None:
    path = write(tmp_path / "w.json", as_canvas(tiny_text()))
    settings, report = taken(page, path, seconds="9", loras="kept")
    assert settings["task"] == "text_to_video" and settings["prompt"] == "a ball"
    assert settings["num_inference_steps"] == "3" and settings["sampler"] == "unipc"
    assert "seconds" not in settings and settings["num_frames"] == "9", "one length replaces the other"
    assert settings["loras"] == [{"file": "kept", "strength": "1"}], "what it does not name stays"
    assert "0 to look at" in report and "WanVideoSampler 4" in report


def test_the_page_looks_for_no_inputs(page: Page, tmp_path: Path) -> None:
    (tmp_path / "girl.png").touch()
    settings, report = taken(page, write(tmp_path / "w.json", as_api(infinite_talk())))
    assert "image" not in settings and "girl.png" in report and settings["width"] == "640"


def test_a_bad_file_changes_nothing_and_is_escaped(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "<b>.json"
    path.write_text("{")
    updates = take_workflow(page, str(path), "talk")
    assert updates.keys() == {page.workflow.report}
    assert "&lt;b&gt;" in updates[page.workflow.report]
    workflow = {"1": Sketch(kind="<i>", links={"x": ("8", 0)}), **text_to_video()}
    _, report = taken(page, write(path, as_api(workflow | {"90": Sketch(kind="<i>")})))
    assert "&lt;i&gt;" in report and "<i>" not in report


def test_loras_that_the_form_has_no_room_for_are_told() -> None:
    loras = tuple(LoraChoice(file=f"number {i}") for i in range(MOST_LORAS + 1))
    report = report_html(WorkflowImport(values={"loras": loras}, lines=()))
    assert f"number {MOST_LORAS}" in report and "number 0" not in report


def test_every_outcome_has_words() -> None:
    lines = tuple(Line(node=f"N {outcome}", outcome=outcome, detail="why") for outcome in OUTCOMES)
    report = report_html(WorkflowImport(values={}, lines=lines))
    assert all(f"N {outcome}" in report for outcome in OUTCOMES) and report.count("<details") == len(OUTCOMES)


def test_a_plan_from_a_workflow(tmp_path: Path, models: Path, capsys: Streams) -> None:
    path = write(tmp_path / "w.json", as_canvas(tiny_text()))
    flags = ["--workflow", str(path), "--models-dir", str(models), "--steps", "2", "--json"]
    assert main(["plan", *flags]) == 0
    streams = capsys.readouterr()
    effective = json.loads(streams.out.splitlines()[-1])["effective"]
    assert effective["num_inference_steps"] == 2 and effective["seed"] == 5, "flags go before the workflow"
    assert "Workflow w.json: " in streams.err
    assert main(["plan", *flags, "--seconds", "1"]) == 0, "another length takes the place of its frames"
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["effective"]["frames"] == 17


def test_inputs_beside_a_workflow_are_taken(tmp_path: Path, models: Path, capsys: Streams) -> None:
    picture(64, 64).save(tmp_path / "girl.png")
    write_sound(tmp_path / "hello.wav", seconds=0.4)
    path = write(tmp_path / "w.json", as_api(infinite_talk()))
    flags = ["--workflow", str(path), "--models-dir", str(models), "--set", "separate_vocals=false"]
    smaller = ["--width", "64", "--height", "64", "--set", "window_frames=9", "--set", "motion_frames=5"]
    assert main(["plan", *flags, *smaller]) == 0
    assert "Not taken" not in capsys.readouterr().err


def test_a_bad_workflow_is_bad_input(tmp_path: Path, capsys: Streams) -> None:
    assert main(["plan", "--workflow", str(tmp_path / "none.json")]) == 2
    error = capsys.readouterr().err
    assert "workflow 'none.json' cannot be used: there is no such file" in error and error.count("\n") == 1
