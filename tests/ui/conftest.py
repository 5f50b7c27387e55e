"""A page over tiny models, not served, and a form on it that can be made."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.tiny_models import write_tiny_models
from tests.ui.test_fields import CPU, start_values
from ui.page import place_parts
from ui.parts import Page
from wanvideo.jobs.store import JobStore


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def page(tmp_path: Path, models: Path) -> Page:
    folders = {"output_dir": str(tmp_path / "out"), "models_dir": str(models)}
    with gr.Blocks():
        return place_parts(JobStore(tmp_path / "queue.sqlite"), folders, CPU)


@pytest.fixture
def values(page: Page) -> dict[Any, Any]:
    form = page.form
    chosen = {form["task"]: "text_to_video", form["model"]: "tiny_t2v", form["prompt"]: "a <red> ball"}
    return start_values(form) | chosen
