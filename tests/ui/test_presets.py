"""The preset picker: the recommended one first, what Apply fills in, and presets of one's own."""

from collections.abc import Iterator
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.tiny_models import write_tiny_models
from tests.ui.test_fields import CARD, CPU, start_values
from ui import texts
from ui.fields import HIDDEN, TABLE, collect
from ui.job_events import unload_models
from ui.page import place_parts
from ui.parts import Page
from ui.preset_events import (
    INPUTS,
    apply_preset,
    delete_own,
    save_own,
    show_choices,
    show_preset,
)
from ui.presets import every_preset, own_folder, preset_card
from wanvideo.downloads.added_folders import VARIABLE
from wanvideo.fields import read_value
from wanvideo.jobs.store import JobStore
from wanvideo.lora_plan import distilled_file
from wanvideo.presets import list_presets, load_preset, preset_names, save_preset
from wanvideo.recommended import recommended_preset
from wanvideo.request import OPTION_FIELDS, TASKS, GenerationRequest, RuntimeOptions

ADA = replace(CPU, gpus=(CARD,))  # 16 GB
CASES = [(preset.name, task) for preset in list_presets() for task in TASKS if preset.is_for(task)]


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "config"))


@pytest.fixture(autouse=True)
def toasts(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the visitor was told; a toast outside a request is a warning of Python."""
    told: list[str] = []
    monkeypatch.setattr(gr, "Warning", told.append)
    monkeypatch.setattr(gr, "Info", lambda text, duration=0: told.append(text))  # noqa: ARG005 - as gradio has it
    yield told


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory, models: Path) -> Page:
    home = tmp_path_factory.mktemp("home")
    with gr.Blocks():
        return place_parts(JobStore(home / "queue.sqlite"), {"models_dir": str(models)}, ADA)


def form_of(page: Page, task: str, **typed: Any) -> dict[Any, Any]:
    """A form as the browser sends it, with these fields typed in."""
    named = {page.form[name]: value for name, value in typed.items()}
    return start_values(page.form) | {page.form["task"]: task, page.models.picker.name: ""} | named


def applied(page: Page, name: str, values: dict[Any, Any]) -> dict[Any, Any]:
    """The form after the preset was applied."""
    updates = apply_preset(page, {**values, page.models.picker.choice: name})
    return values | {widget: value for widget, value in updates.items() if widget in values}


def offered(page: Page, task: str, chosen: str = "") -> list[tuple[str, str]]:
    choices: list[tuple[str, str]] = show_choices(page, chosen, task)[page.models.picker.choice]["choices"]
    return choices


@pytest.mark.parametrize("task", TASKS)
def test_the_recommended_one_is_first_and_says_why(page: Page, task: str) -> None:
    (shown, name), *others = offered(page, task)
    best = recommended_preset(ADA, task)
    assert name == best.name == "tier_16gb" and shown.startswith("Recommended")
    assert not any("Recommended" in label for label, _ in others)
    assert [other for _, other in others if not load_preset(other).is_for(task)] == []
    updates = show_choices(page, "", task)
    assert updates[page.models.picker.choice]["value"] == name
    assert escape(best.reason) in updates[page.models.picker.card]


def test_a_chosen_preset_stays_while_it_serves_the_task(page: Page) -> None:
    choice = page.models.picker.choice
    assert show_choices(page, "debug", "text_to_video")[choice]["value"] == "debug"
    assert show_choices(page, "talk_official", "talk")[choice]["value"] == "talk_official"
    assert show_choices(page, "talk_official", "text_to_video")[choice]["value"] == "tier_16gb"


@pytest.mark.parametrize(("name", "task"), CASES)
def test_apply_fills_in_what_the_preset_names_and_nothing_else(page: Page, name: str, task: str) -> None:
    preset = load_preset(name)
    before = form_of(page, task)
    after = applied(page, name, before)
    named, settings = preset.named(task), collect(page.form, after)
    for field, value in named.items():
        if TABLE[field].is_for(task):
            assert read_value(TABLE[field], settings.get(field)) == value, field
    others, empty = set(page.form.widgets) - set(named), collect(page.form, before)
    assert {field for field in others if settings.get(field) != empty.get(field)} == set()
    if "prompt" not in named:
        assert not {"image", "audio", "prompt"} & settings.keys(), "empty inputs stay empty"


def test_a_filled_form_can_be_read(page: Page) -> None:
    filled = applied(page, "tier_8gb_720p", form_of(page, "text_to_video", prompt="a ball", seconds="9"))
    request, options = page.read(filled)
    assert (request.width, request.num_frames, request.seconds) == (1280, 61, None)
    assert options.quantization == "fp4_scaled" and options.blocks_to_swap == "auto"
    off = page.read(applied(page, "large_vram", filled))
    assert off[1].blocks_to_swap == 0 and off[0].width == 1280
    assert applied(page, "large_vram", filled)[page.form["blocks_to_swap"]] == "off"
    kept = applied(page, "tier_8gb", form_of(page, "talk", seconds="9"))
    assert collect(page.form, kept)["seconds"] == "9", "no length is named for talk"


def test_few_steps_are_said_to_need_their_file(page: Page, toasts: list[str]) -> None:
    file = distilled_file("talk")
    assert file is not None
    applied(page, "tier_8gb", form_of(page, "talk"))
    assert [toast for toast in toasts if file.file_name in toast and "4 steps" in toast]
    assert file.file_name in preset_card(load_preset("tier_8gb"), ADA, "talk")
    toasts.clear()
    applied(page, "tier_8gb", form_of(page, "text_to_video"))
    assert not [toast for toast in toasts if "steps" in toast]


def test_the_file_that_few_steps_need_is_put_on_where_it_lies(
    page: Page, monkeypatch: pytest.MonkeyPatch, toasts: list[str]
) -> None:
    file = distilled_file("talk")
    assert file is not None
    mine = f"wan/{Path(file.file_name).stem}"
    monkeypatch.setattr("ui.parts.lora_choices", lambda _: [("None", ""), (mine, mine), ("warm", "warm")])
    filled = applied(page, "tier_8gb", form_of(page, "talk"))
    assert collect(page.form, filled)["loras"] == [{"file": mine, "strength": "1"}] and len(toasts) == 1
    first = page.form.widgets["loras"][0]
    worn = applied(page, "tier_8gb", {**form_of(page, "talk"), first: "warm"})
    assert collect(page.form, worn)["loras"] == [{"file": "warm", "strength": "1"}], "a chosen LoRA stays"


def test_a_preset_of_one_s_own_is_saved_applied_and_deleted(page: Page, toasts: list[str]) -> None:
    picker = page.models.picker
    typed = {"prompt": "secret", "guidance_scale": "5, 1", "use_tf32": True, "vram_threshold_percent": "70"}
    values = form_of(page, "text_to_video", **typed)
    updates = save_own(page, {**values, picker.name: "My own"})
    assert preset_names(own_folder()) == ["My own"] and updates[picker.name] == ""
    assert updates[picker.choice]["value"] == "My own" and updates[picker.delete]["interactive"]
    assert ("Mine · My own", "My own") in offered(page, "text_to_video")
    assert "My own" not in dict(offered(page, "talk")).values()
    assert "secret" not in (own_folder() / "My own.json").read_text("utf-8")
    changed = form_of(page, "text_to_video", prompt="other", num_inference_steps="3", attention="sdpa")
    back = collect(page.form, applied(page, "My own", changed))
    wanted = collect(page.form, values)
    assert {name: back.get(name) for name in back if name not in INPUTS} == {
        name: value for name, value in wanted.items() if name not in INPUTS
    }
    assert back["prompt"] == "other" and "num_inference_steps" not in back
    gone = delete_own(page, "My own", "text_to_video")
    assert preset_names(own_folder()) == [] and gone[picker.choice]["value"] == "tier_16gb"
    assert not gone[picker.delete]["interactive"]
    delete_own(page, "standard", "talk")
    assert "no preset of your own" in toasts[-1] and load_preset("standard")


@pytest.mark.parametrize(
    ("name", "typed", "said"),
    [("../up", {}, "can't have this name"), ("mine", {"width": "many"}, "Width must be a whole number")],
)
def test_what_cannot_be_saved_is_told(
    page: Page, toasts: list[str], name: str, typed: dict[str, Any], said: str
) -> None:
    picker = page.models.picker
    save_own(page, {**form_of(page, "talk", **typed), picker.name: name})
    assert said in toasts[-1] and preset_names(own_folder()) == []


def test_a_model_or_lora_that_is_gone_is_told_and_left_out(page: Page, toasts: list[str]) -> None:
    gone = {"model": "gone_model", "loras": [{"file": "gone_lora", "strength": "1"}]}
    save_preset("old", "talk", gone, own_folder())
    filled = applied(page, "old", form_of(page, "talk"))
    assert not {"model", "loras"} & collect(page.form, filled).keys()
    assert any("gone_model" in toast for toast in toasts) and any("gone_lora" in toast for toast in toasts)


def test_a_faulty_file_of_one_s_own_hides_no_other(page: Page, toasts: list[str]) -> None:
    own_folder().mkdir(parents=True)
    (own_folder() / "broken.json").write_text("{")
    found, faults = every_preset()
    assert len(found) == len(list_presets()) and "broken.json" in faults[0]
    assert offered(page, "talk") and "broken.json" in toasts[-1]
    for name in ("broken", "never was"):
        updates = show_preset(page, name, "talk")
        assert updates[page.models.picker.card] == "" and len(toasts) > 1
        filled = apply_preset(page, {**form_of(page, "talk"), page.models.picker.choice: name})
        assert not filled.keys() & page.form.components


def test_what_files_say_is_escaped() -> None:
    nasty = replace(load_preset("standard"), description="<b>", hint="<i>", options={"model": "<u>"})
    card = preset_card(nasty, ADA, "talk")
    assert "&lt;b&gt;" in card and not {"<b>", "<i>", "<u>"} & set(card.split())


def test_every_group_has_words() -> None:
    for preset in list_presets():
        assert texts.say(f"preset_group_{preset.group}")


def test_every_memory_option_has_its_place(page: Page) -> None:
    assert set(OPTION_FIELDS) - set(page.models.widgets) == set(HIDDEN)


def test_unloading_is_asked_of_the_worker(
    page: Page, toasts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(JobStore, "request_unload", lambda _: asked.append(True), raising=False)
    unload_models(page)
    page.store.add(GenerationRequest(), RuntimeOptions())
    page.store.claim("w")
    unload_models(page)
    assert asked == [True, True] and toasts == [texts.say("unload_now"), texts.say("unload_later")]
