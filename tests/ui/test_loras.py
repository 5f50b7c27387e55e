"""The LoRA rows of the page: what lies in the folder is offered, and nothing else can be asked for."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.ui.test_fields import CPU, start_values
from ui.events import show_models
from ui.fields import MOST_LORAS
from ui.page import place_parts
from ui.parts import Page
from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice
from wanvideo.jobs.store import JobStore


@pytest.fixture
def page(tmp_path: Path) -> Page:
    for name in ("cold", "style/warm"):
        file = tmp_path / f"models/loras/{name}.safetensors"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")
    folders = {"output_dir": str(tmp_path / "out"), "models_dir": str(tmp_path / "models")}
    with gr.Blocks():
        return place_parts(JobStore(tmp_path / "queue.sqlite"), folders, CPU)


def filled(page: Page, rows: dict[int, tuple[str, Any]]) -> dict[Any, Any]:
    widgets, values = page.form.widgets["loras"], start_values(page.form)
    for row, (name, strength) in rows.items():
        values |= {widgets[2 * row]: name, widgets[2 * row + 1]: strength}
    return values


def test_the_files_of_the_folder_are_offered(page: Page) -> None:
    updates, widgets = show_models(page), page.form.widgets["loras"]
    assert len(widgets) == 2 * MOST_LORAS
    for name in widgets[::2]:
        assert [value for _, value in updates[name]["choices"]] == ["", "cold", "style/warm"]


def test_rows_become_the_list_of_the_request(page: Page) -> None:
    request, _ = page.read(filled(page, {1: ("style/warm", "1, 0.5"), 3: ("cold", "")}))
    wanted = LoraChoice(file="style/warm", strength=(1.0, 0.5)), LoraChoice(file="cold")
    assert request.loras == wanted
    assert page.read(filled(page, {0: ("", "0.5")}))[0].loras == ()


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "cold.safetensors"])
def test_no_other_file_of_the_machine_is_opened(page: Page, name: str) -> None:
    with pytest.raises(UserError, match="unknown LoRA"):
        page.read(filled(page, {0: (name, "1")}))
    with pytest.raises(UserError, match="loras must be a list of LoRAs"):
        page.read(filled(page, {0: ("cold", "strong")}))
