"""Forms come back: after a reload and a restart, for each task and each visitor, without what is gone."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from tests.ui.test_fields import start_values
from ui import forms
from ui.batch_events import add_batch
from ui.events import switch_task
from ui.fields import START_TASK, collect, shown_values
from ui.form_events import reset_form, reset_options
from ui.forms import FILES, is_input, keep_form, open_form, option_names, request_names
from ui.negative import NOTHING, PUBLISHED, negative_note
from ui.parts import Page
from ui.presets import find_preset
from ui.restore import request_updates
from ui.texts import say
from wanvideo.defaults import NEGATIVE_CHINESE, NEGATIVE_ENGLISH
from wanvideo.jobs.forms import FormStore
from wanvideo.library.settings import VideoSettings
from wanvideo.prepare import prepare
from wanvideo.recommended import recommended_preset
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TASKS, TEXT_TO_VIDEO

Form = dict[Any, Any]


def holding(page: Page, task: str, switched_to: str | None = None) -> Form:
    """The untouched form of a task; `switched_to`: where the switch stands already."""
    return start_values(page.form) | dict(
        zip(page.form.widgets["task"], (switched_to or task, task), strict=True)
    )


def other_value(page: Page, widget: Any, place: int) -> Any:
    """Something else than the widget begins with."""
    if isinstance(widget, gr.Checkbox):
        return not widget.value
    if isinstance(widget, gr.Number):
        return (widget.value or 0) + 1
    if isinstance(widget, gr.Textbox):
        return f"typed {place}"
    if isinstance(widget, FILES):
        file = Path(page.folders["output_dir"]) / "uploads" / f"{place}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return str(file)
    return [value for _, value in widget.choices][-1]


def shown(updates: dict[Any, Any], widget: Any) -> Any:
    """What the widget has then; one that is left alone has what it began with."""
    return updates[widget]["value"] if widget in updates else widget.value


def test_parts_are_kept_for_each_owner_and_over_a_restart(tmp_path: Path) -> None:
    store = FormStore(tmp_path / "queue.sqlite")
    store.keep("", {"talk": {"a": [1]}, "options": {"b": ["x"]}})
    store.keep("guest", {"talk": {"a": [2]}})
    store.keep("", {"talk": {"a": ["墙"]}})
    again = FormStore(tmp_path / "queue.sqlite")
    assert again.read("") == {"talk": {"a": ["墙"]}, "options": {"b": ["x"]}}
    assert again.read("guest") == {"talk": {"a": [2]}}
    assert again.read("nobody") == {}


@pytest.mark.parametrize("task", TASKS)
def test_every_field_comes_back(page: Page, task: str) -> None:
    names = [*request_names(page, task), *option_names(page)]
    widgets = [widget for name in names for widget in page.form.widgets[name]]
    changed = {widget: other_value(page, widget, place) for place, widget in enumerate(widgets)}
    keep_form(page, holding(page, task) | changed)
    updates = open_form(page)
    assert {widget: shown(updates, widget) for widget in widgets} == changed
    assert [shown(updates, widget) for widget in page.form.widgets["task"]] == [task, task]


def test_the_whole_form_is_somewhere(page: Page) -> None:
    kept = {name for task in TASKS for name in request_names(page, task)} | {*option_names(page), "task"}
    assert kept == set(page.form.widgets)


def test_a_page_that_has_not_got_its_form_keeps_nothing(page: Page) -> None:
    keep_form(page, start_values(page.form))
    assert page.forms.read("") == {}
    updates = open_form(page)
    assert [shown(updates, widget) for widget in page.form.widgets["task"]] == [START_TASK] * 2


def test_each_task_has_its_own_form(page: Page) -> None:
    width, prompt = page.form["width"], page.form["prompt"]
    keep_form(page, holding(page, TALK) | {width: "96", prompt: "one"})
    keep_form(page, holding(page, TEXT_TO_VIDEO) | {width: "64", prompt: "two"})
    there = switch_task(page, holding(page, TEXT_TO_VIDEO, TALK) | {width: "64", prompt: "two"})
    assert (shown(there, width), shown(there, prompt)) == ("96", "one")
    assert there[page.form["image"]]["visible"], "and it is the task's own inputs that are seen"
    back = switch_task(page, holding(page, TALK, TEXT_TO_VIDEO) | {width: "96", prompt: "one"})
    assert (shown(back, width), shown(back, prompt)) == ("64", "two")


def test_what_was_typed_last_is_kept_by_the_switch(page: Page) -> None:
    switch_task(page, holding(page, TALK, IMAGE_TO_VIDEO) | {page.form["prompt"]: "just typed"})
    kept = page.forms.read("")
    assert kept[TALK]["prompt"] == ["just typed"] and IMAGE_TO_VIDEO not in kept
    assert kept["last"] == {"task": IMAGE_TO_VIDEO}


def test_the_first_time_inputs_come_along_and_settings_begin(page: Page) -> None:
    typed = {page.form["prompt"]: "a ball", page.form["num_inference_steps"]: "4"}
    updates = switch_task(page, holding(page, TALK, TEXT_TO_VIDEO) | typed)
    assert "value" not in updates[page.form["prompt"]]
    assert shown(updates, page.form["num_inference_steps"]) == ""
    assert shown(updates, page.form.widgets["task"][1]) == TEXT_TO_VIDEO


def test_a_form_that_comes_with_its_task_stays(page: Page) -> None:
    keep_form(page, holding(page, TEXT_TO_VIDEO) | {page.form["prompt"]: "kept"})
    settings = VideoSettings(
        request={"task": TEXT_TO_VIDEO, "prompt": "reused"}, options={}, effective={}, notes=()
    )
    filled = {
        widget: update["value"] for widget, update in request_updates(page, settings, keeps_seed=True).items()
    }
    updates = switch_task(page, holding(page, TALK) | filled)
    assert not any("value" in update for update in updates.values() if isinstance(update, dict))
    keep_form(page, holding(page, TALK) | filled)
    assert page.forms.read("")[TEXT_TO_VIDEO]["prompt"] == ["reused"]


def test_a_visitor_sees_only_his_own(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("owner", "guest"):
        monkeypatch.setattr(forms, "current_visitor", lambda name=name: name)
        assert shown(open_form(page), page.form["prompt"]) == ""
        keep_form(page, holding(page, TALK) | {page.form["prompt"]: f"of {name}"})
    assert shown(open_form(page), page.form["prompt"]) == "of guest"
    monkeypatch.setattr(forms, "current_visitor", lambda: "owner")
    assert shown(open_form(page), page.form["prompt"]) == "of owner"


def test_files_that_are_gone_or_not_ours_are_told(page: Page, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.png"
    foreign.touch()
    gone = Path(page.folders["output_dir"]) / "gone.wav"
    first, second = page.form.widgets["audio"]
    keep_form(page, holding(page, TALK) | {page.form["image"]: str(foreign), second: str(gone)})
    with pytest.warns(UserWarning, match=r"foreign\.png, gone\.wav"):
        updates = open_form(page)
    assert [shown(updates, widget) for widget in (page.form["image"], first, second)] == [None] * 3


def batch_of(page: Page, files: list[str]) -> Form:
    given = (files, "a ball\na cube", "1, 2")
    return dict(zip(page.generation.batch.widgets, given, strict=True))


def test_a_batch_comes_back_unfolded_without_what_is_gone(page: Page, tmp_path: Path) -> None:
    batch, here = page.generation.batch, other_value(page, page.form["image"], 1)
    assert batch.fold not in open_form(page)
    foreign = tmp_path / "foreign.png"
    foreign.touch()
    keep_form(page, holding(page, TALK) | batch_of(page, [here, str(foreign)]))
    with pytest.warns(UserWarning, match=r"foreign\.png"):
        updates = open_form(page)
    assert [updates[widget]["value"] for widget in batch.widgets] == [[here], "a ball\na cube", "1, 2"]
    assert updates[batch.fold]["open"]
    keep_form(page, holding(page, IMAGE_TO_VIDEO))
    assert page.forms.read("")["batch"]["seeds"] == "1, 2", "an event that is not given the batch leaves it"
    keep_form(page, holding(page, TALK) | dict.fromkeys(batch.widgets))
    assert not set(open_form(page)) & {batch.fold, *batch.widgets}


def test_a_batch_that_became_jobs_does_not_come_back(page: Page, values: Form) -> None:
    form = values | batch_of(page, []) | {page.form.widgets["task"][1]: TEXT_TO_VIDEO}
    keep_form(page, form)
    assert page.generation.batch.prompts in open_form(page)
    add_batch(page, form)
    assert len(page.store.list()) == 4 and page.generation.batch.prompts not in open_form(page)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("sampler", "a_sampler_of_old"),
        ("model", "a_model_of_old"),
        ("vae_tiling", 7),
        ("seed", "many"),
        ("apg", "yes"),
        ("prompt", 3),
        ("width", ["64", "more"]),
    ],
)
def test_what_no_longer_fits_begins_anew(page: Page, name: str, kept: Any) -> None:
    part = TALK if name in request_names(page, TALK) else "options"
    page.forms.keep("", {part: {name: kept if isinstance(kept, list) else [kept]}})
    if isinstance(kept, str):
        with pytest.warns(UserWarning, match=kept):
            updates = open_form(page)
    else:
        updates = open_form(page)
    left = shown(updates, page.form[name]) or ""
    assert left == (shown_values(name, forms.TABLE[name].default)[0] or "")


def test_a_kept_model_is_listed_with_its_value(page: Page) -> None:
    keep_form(page, holding(page, TALK) | {page.form["model"]: "tiny_i2v"})
    update = open_form(page)[page.form["model"]]
    assert update["value"] == "tiny_i2v"
    assert {"", "tiny_i2v", "tiny_t2v"} <= {value for _, value in update["choices"]}


def test_reset_keeps_the_inputs(page: Page) -> None:
    updates = reset_form(page, holding(page, TALK))
    reset = {name for name, widgets in page.form.widgets.items() if widgets[0] in updates}
    tab = set(page.generation.widgets) & set(request_names(page, TALK))
    assert reset == {name for name in tab if not is_input(name)}
    assert {"num_inference_steps", "seed", "guidance_scale"} <= reset
    assert not reset & {"prompt", "image", "audio", "speaker_boxes", "model", "loras", "task"}
    assert all(update["value"] == widget.value or not update["value"] for widget, update in updates.items())


def test_options_are_set_back_to_the_preset_for_this_machine(page: Page) -> None:
    updates = reset_options(page, holding(page, TALK))
    preset = find_preset(recommended_preset(page.machine, TALK).name)
    named = set(preset.options) & set(option_names(page))
    assert named
    for name in option_names(page):
        value = preset.options[name] if name in named else forms.TABLE[name].default
        assert shown(updates, page.form[name]) == shown_values(name, value)[0], name


def test_published_negative_prompts_reach_the_plan(page: Page, values: Form) -> None:
    field = page.form["negative_prompt"]
    assert list(PUBLISHED.values()) == [NEGATIVE_CHINESE, NEGATIVE_ENGLISH, NOTHING]
    for words in PUBLISHED.values():
        assert collect(page.form, values | {field: words})["negative_prompt"] == words


def test_the_page_says_when_a_negative_prompt_does_nothing(page: Page, values: Form) -> None:
    def note(guidance: str, negative: str) -> str:
        given = {page.form["guidance_scale"]: guidance, page.form["negative_prompt"]: negative}
        return negative_note(prepare(*page.read(values | given))[0])

    assert say("negative_idle") in note("1", "dull")
    assert note("5", "dull") == "" and note("5, 1", "dull") == ""
    assert say("negative_none") in note("5", NOTHING)


def test_pictures_of_examples_are_pictures(page: Page) -> None:
    """An example's file is no upload, and comes back all the same."""
    picture = Path(__file__).parents[2] / "examples" / "girl.png"
    with Image.open(picture) as opened:
        assert opened.width
    keep_form(page, holding(page, TALK) | {page.form["image"]: str(picture)})
    assert shown(open_form(page), page.form["image"]) == str(picture)
