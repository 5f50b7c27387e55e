"""Every field of the tables reaches the page, and what is typed there is what the engine reads."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from ui.events import show_task
from ui.fields import HIDDEN, TABLE, Form, collect, name_choices
from ui.page import place_parts
from ui.parts import Page
from wanvideo.fields import LoraChoice
from wanvideo.hardware import Gpu, Hardware
from wanvideo.jobs.store import JobStore
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import TASKS, read_options, read_request
from wanvideo.sampling.samplers import SAMPLERS

CPU = Hardware(gpus=(), cpu="A <processor>", cores=2, ram_bytes=2**33, free_ram_bytes=2**32, system="Linux")
CARD = Gpu(name="A card", compute_capability=(8, 9), total_bytes=2**34, free_bytes=2**34, driver="1")

# A value per kind as its widget gives it, and as the engine reads it.
TYPED: dict[str, tuple[Any, Any]] = {
    "text": ("words", "words"),
    "name": ("auto", "auto"),
    "int": ("", 0),  # the row's own bounds decide
    "auto_int": ("40", 40),
    "float": ("1", 1.0),
    "floats": ("5, 1", (5.0, 1.0)),
    "bool": (True, True),
    "path": ("/some/file", "/some/file"),
    "paths": ("/some/file", ("/some/file",)),
    "loras": ("style", (LoraChoice(file="style"),)),
    "boxes": ("0,0,8,8; 8,0,16,8", ((0, 0, 8, 8), (8, 0, 16, 8))),
}


@pytest.fixture
def parts(tmp_path: Path) -> Page:
    with gr.Blocks():
        return place_parts(JobStore(tmp_path / "queue.sqlite"), {}, CPU)


@pytest.fixture
def form(parts: Page) -> Form:
    return parts.form


def start_values(form: Form) -> dict[Any, Any]:
    return {widget: getattr(widget, "value", None) for widget in form.components}


def test_every_field_has_a_widget_or_a_reason(form: Form) -> None:
    assert set(form.widgets) | set(HIDDEN) == set(TABLE)
    assert not set(form.widgets) & set(HIDDEN)
    assert all(HIDDEN.values())


def test_an_untouched_form_asks_for_the_defaults(form: Form) -> None:
    settings = collect(form, start_values(form))
    request = {name: value for name, value in settings.items() if name in read_request({}).__slots__}
    options = {name: value for name, value in settings.items() if name not in request}
    assert read_request(request) == read_request({})
    assert read_options(options) == read_options({})


@pytest.mark.parametrize("name", sorted(set(TABLE) - set(HIDDEN) - {"task"}))
def test_what_is_typed_arrives(form: Form, name: str) -> None:
    row = TABLE[name]
    typed, read = (row.choices[-1],) * 2 if row.choices else TYPED[row.kind]
    if row.kind == "int":
        read = int(row.low or 0) + 1
        typed = str(read)
    task = (row.tasks or TASKS)[0]
    values = start_values(form) | {form["task"]: task, form[name]: typed}
    settings = collect(form, values)
    reader = read_request if name in read_request({}).__slots__ else read_options
    assert getattr(reader({name: settings[name]}), name) == read


def test_two_voices_are_one_field(form: Form) -> None:
    first, second = form.widgets["audio"]
    settings = collect(form, start_values(form) | {first: "a.wav", second: "b.wav"})
    assert settings["audio"] == ["a.wav", "b.wav"]


def test_fields_of_other_tasks_are_left_out(form: Form) -> None:
    values = start_values(form) | {form["task"]: "text_to_video", form["image"]: "left_over.png"}
    assert "image" not in collect(form, values)


@pytest.mark.parametrize("task", TASKS)
def test_a_task_shows_its_own_fields(parts: Page, task: str) -> None:
    updates = show_task(parts, task)
    for name, widgets in parts.form.widgets.items():
        if TABLE[name].tasks:
            assert all(updates[widget]["visible"] == (task in TABLE[name].tasks) for widget in widgets)


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("sampler", SAMPLERS),
        ("attention", attention_backends()),
        ("quantization", quantization_modes()),
    ],
)
def test_choices_are_the_engine_s_tables(name: str, table: dict[str, Any]) -> None:
    assert [value for _, value in name_choices(name)][1:] == list(table)


def test_a_picture_is_handed_on_as_the_file_it_was(form: Form, tmp_path: Path) -> None:
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    upload = gr.FileData(path=str(text), orig_name="text.png")
    assert form["image"].preprocess(upload) == str(text)
