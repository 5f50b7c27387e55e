"""The Files tab: recipes with their state and button, a download watched by a visitor, folders added."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.downloads.hub_server import Served, StandIn, stand_in_hub
from tests.tiny_models import write_tiny_models
from tests.ui.test_fields import CPU
from ui import texts
from ui.events import show_models
from ui.files import (
    FilesTab,
    add_models_folder,
    look_at_download,
    recipes_card,
    running_card,
    show_files,
    take_action,
)
from ui.page import build_page, place_parts, widgets_of_models
from wanvideo.downloads import hub, recipes, state
from wanvideo.downloads.added_folders import VARIABLE, added_folders
from wanvideo.downloads.catalog import UMT5_TOKENIZER, Recipe
from wanvideo.downloads.progress import DownloadEvent
from wanvideo.downloads.running import DONE, FAILED, IDLE, RUNNING, STOPPED, Running
from wanvideo.downloads.state import COMPONENTS, FileState, RecipeState
from wanvideo.jobs.store import JobStore

SEEN: dict[str, Any] = {"state": IDLE, "sent": None}
CONTENT = bytes(range(256)) * 1000


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "config"))
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def tab(tmp_path: Path, models: Path) -> FilesTab:
    with gr.Blocks():
        page = place_parts(JobStore(tmp_path / "queue.sqlite"), {"models_dir": str(models)}, CPU)
    return page.files


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """A recipe of one file and a hub that has it."""
    file = replace(UMT5_TOKENIZER, path="new.model", folder="vae", sha256=None, bytes=len(CONTENT))
    table = {"one": Recipe(name="one", title="One <file>", files=(file,))}
    monkeypatch.setattr(recipes, "RECIPES", table)
    monkeypatch.setattr(state, "RECIPES", table)
    monkeypatch.setattr("ui.files.RECIPES", table)
    monkeypatch.setattr(hub, "FIRST_WAIT", 0.01)
    with stand_in_hub() as server:
        monkeypatch.setenv(hub.ENDPOINT, server.address)
        server.serve(file, Served(CONTENT))
        yield server


def test_the_tab_is_on_the_page(tmp_path: Path) -> None:
    blocks = build_page(JobStore(tmp_path / "queue.sqlite"), {}, CPU)
    places = {widget.get("props", {}).get("elem_id") for widget in blocks.config["components"]}
    assert {"recipes", "download", "components", "added"} <= places


def test_other_tabs_learn_of_new_files(tmp_path: Path, models: Path) -> None:
    with gr.Blocks():
        page = place_parts(JobStore(tmp_path / "queue.sqlite"), {"models_dir": str(models)}, CPU)
    assert set(show_models(page)) == set(widgets_of_models(page))


def test_every_recipe_has_a_row_and_a_button(tab: FilesTab) -> None:
    card = show_files(tab)[tab.recipes]
    for recipe in recipes.RECIPES.values():
        assert escape(recipe.title) in card and escape(recipe.licences) in card
        assert f"data-name='{recipe.name}'" in card
    assert "16.6 GB" not in card and "28.5 GB" in card
    assert card.count(texts.say("files_unconfirmed")) == 1, "of the vocal separation alone"


def test_a_recipe_says_what_is_missing_of_it() -> None:
    recipe = recipes.RECIPES["text-1.3b"]
    states = [state.FOUND, state.SERVED, state.MISSING]
    files = tuple(FileState(file=file, state=one) for file, one in zip(recipe.files, states, strict=True))
    card = recipes_card([RecipeState(recipe=recipe, files=files)])
    assert "1 of 3 files missing, 6.7 GB" in card and "umt5_xxl_fp8_e4m3fn_scaled.safetensors" in card


def test_a_complete_recipe_has_no_button() -> None:
    recipe = recipes.RECIPES["text-1.3b"]
    there = tuple(FileState(file=file, state=state.FOUND, path=Path("x")) for file in recipe.files)
    card = recipes_card([RecipeState(recipe=recipe, files=there)])
    assert "<button" not in card and texts.say("state_complete") in card


def test_every_kind_of_file_is_found_or_missing(tab: FilesTab, tmp_path: Path) -> None:
    card = show_files(tab)[tab.found]
    names = texts.say("files_components").split("|")
    assert len(names) == len(COMPONENTS) + 1
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td>(.*?)</td></tr>", card)
    states = {(name, shown) for name, _, shown in rows}
    assert {("VAE", "found"), ("LoRA", "missing"), ("InfiniteTalk", "found")} <= states
    assert any("tiny_vae.safetensors" in file for _, file, _ in rows)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "odd<1>.safetensors").write_bytes(b"odd")
    other = replace(tab, folders={"models_dir": str(tmp_path / "m")})
    assert "Odd&lt;1&gt;.safetensors is not a safetensors file" in show_files(other)[tab.found]


@pytest.mark.usefixtures("known")
def test_a_click_downloads_and_every_visitor_sees_it(tab: FilesTab, tmp_path: Path) -> None:
    tab = replace(tab, folders={"models_dir": str(tmp_path / "m")})
    view = gr.State()
    assert "One &lt;file&gt;" in show_files(tab)[tab.recipes]
    take_action(tab, "download", "one")
    first = look_at_download(tab, view, SEEN)
    end = time.monotonic() + 20
    while tab.downloads.now.state == RUNNING:
        assert time.monotonic() < end
        time.sleep(0.01)
    last = look_at_download(tab, view, first[view])
    assert texts.say("files_done") in last[tab.running] and not last[tab.stop]["visible"]
    assert look_at_download(tab, view, last[view]) == {view: last[view]}, "nothing is sent twice"
    assert (tmp_path / "m" / "vae" / "new.model").read_bytes() == CONTENT
    assert "<button" not in show_files(tab)[tab.recipes]


def test_a_second_download_is_answered(tab: FilesTab, known: StandIn, tmp_path: Path) -> None:
    tab = replace(tab, folders={"models_dir": str(tmp_path / "m")})
    (served,) = known.files.values()
    served.statuses, served.headers = [429], {"Retry-After": "60"}
    take_action(tab, "download", "one")
    with pytest.warns(UserWarning, match="is being downloaded"):
        take_action(tab, "download", "one")
    tab.downloads.stop()
    end = time.monotonic() + 20
    while tab.downloads.now.state == RUNNING:
        assert time.monotonic() < end
        time.sleep(0.01)
    assert tab.downloads.now.state == STOPPED


@pytest.mark.parametrize(("action", "name"), [("download", "../x"), ("nix", "melband")])
def test_an_invented_click_does_nothing(tab: FilesTab, action: str, name: str) -> None:
    take_action(tab, action, name)
    assert tab.downloads.now.state == IDLE


def test_folders_are_added_shown_and_removed(tab: FilesTab, tmp_path: Path) -> None:
    folder = tmp_path / "my <models>"
    (folder / "vae").mkdir(parents=True)
    assert texts.say("files_added_none") in show_files(tab)[tab.added]
    with pytest.warns(UserWarning, match="no ComfyUI models folder"):
        assert not add_models_folder(str(tmp_path / "my <models>" / "vae"))
    assert add_models_folder(f" {folder} ") and added_folders() == [folder]
    assert escape(str(folder)) in show_files(tab)[tab.added] and "<models>" not in show_files(tab)[tab.added]
    folder.rename(tmp_path / "away")
    assert texts.say("files_away") in show_files(tab)[tab.added]
    take_action(tab, "remove", str(folder))
    assert added_folders() == []
    with pytest.warns(UserWarning, match="was not added"):
        take_action(tab, "remove", str(folder))


def test_a_damaged_list_of_folders_is_told(tab: FilesTab, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "model_folders.json").write_text("{")
    assert "is damaged" in show_files(tab)[tab.added]


EVENT = DownloadEvent(file="a<b>", done=25, total=100, rate=5.0, seconds_left=15.0)
CARDS = [
    (Running(), "Nothing is being downloaded"),
    (Running(state=RUNNING, title="T<x>"), "T&lt;x&gt;"),
    (Running(state=RUNNING, title="T", event=EVENT), "width:25.0%"),
    (Running(state=RUNNING, title="T", event=EVENT), "15 s left"),
    (Running(state=RUNNING, title="T", event=EVENT), "a&lt;b&gt;"),
    (Running(state=RUNNING, title="T", event=EVENT, stopping=True), "Stopping"),
    (Running(state=FAILED, title="T", error="no <net>"), "No &lt;net&gt;"),
    (Running(state=DONE, title="T"), "there and checked"),
    (Running(state=STOPPED, title="T"), "goes on where"),
]


@pytest.mark.parametrize(("now", "words"), CARDS)
def test_every_state_of_a_download_has_its_card(now: Running, words: str) -> None:
    assert words in running_card(now)
    assert {card[0].state for card in CARDS} == {IDLE, RUNNING, DONE, FAILED, STOPPED}
