"""The Gallery tab: tiles, pages and search, the chosen video, and settings that come back into the form."""

import json
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.test_library import REQUEST, write_video
from tests.tiny_models import write_tiny_models
from tests.ui.test_fields import CPU, start_values
from ui.fields import HIDDEN, collect, is_for
from ui.gallery import NO_CHOICE, settings_card, shelf_html, size_words
from ui.gallery_events import delete_chosen, reuse, reuse_options, show_chosen, show_shelf, use_last_frame
from ui.generation import EXAMPLES
from ui.page import build_page, place_parts
from ui.parts import Page
from ui.restore import MOST_TOLD, picture_update, request_updates
from ui.texts import say
from wanvideo.cache_folder import VARIABLE
from wanvideo.fields import LoraChoice
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.library.results import TRASH, list_results
from wanvideo.library.settings import VideoSettings
from wanvideo.request import (
    OPTION_FIELDS,
    REQUEST_FIELDS,
    TASKS,
    GenerationRequest,
    RuntimeOptions,
    read_request,
    to_mapping,
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.fixture
def page(output: Path, models: Path) -> Page:
    folders = {"output_dir": str(output), "models_dir": str(models)}
    with gr.Blocks():
        return place_parts(JobStore(queue_file(output)), folders, CPU)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What toasts say."""
    said: list[str] = []
    for name in ("Info", "Warning"):
        monkeypatch.setattr(gr, name, lambda text, **_: said.append(text))
    yield said


def view(**chosen: Any) -> dict[str, Any]:
    return {**NO_CHOICE, **chosen}


def values_in(page: Page, updates: dict[Any, Any]) -> dict[Any, Any]:
    """The form after these updates."""
    changed = {
        widget: update["value"] for widget, update in updates.items() if widget in page.form.components
    }
    return start_values(page.form) | changed


def finish_job(
    page: Page, video: Path, request: GenerationRequest, options: RuntimeOptions | None = None
) -> None:
    """A job of the queue that made the video."""
    page.store.add(request, options or RuntimeOptions())
    job = page.store.claim("w")
    assert job is not None
    page.store.finish(job, {"output": str(video), "effective": {"attention": "sdpa"}, "notes": ["a note"]})


def test_the_tab_is_on_the_page_with_its_events(tmp_path: Path) -> None:
    blocks = build_page(JobStore(tmp_path / "queue.sqlite"), {}, CPU)
    places = {widget.get("props", {}).get("elem_id") for widget in blocks.config["components"]}
    assert {"shelf", "gallery-search", "gallery-video", "gallery-drop"} <= places
    assert any(
        target[1] == "select" for event in blocks.config["dependencies"] for target in event["targets"]
    )


def test_tiles_are_escaped_and_the_chosen_one_is_marked(page: Page, output: Path) -> None:
    write_video(output / "a.mp4", {"request": {"prompt": "<script>x</script>"}})
    write_video(output / "b'><i>.mp4", "", age=9)
    updates = show_shelf(page, gr.State(), "", view(name="a.mp4"))
    html = updates[page.gallery.grid]
    assert "<script>" not in html and "&lt;script&gt;" in html and "'><i>.mp4" not in html
    assert html.count("aria-pressed='true'") == 1 and html.count("data:image/jpeg") == 2
    assert say("gallery_count", first=1, last=2, total=2) in html
    assert not updates[page.gallery.newer]["visible"]


def test_pages_are_turned_and_a_search_starts_at_the_first(page: Page, output: Path) -> None:
    content = write_video(output / "00.mp4").read_bytes()
    for number in range(1, 30):
        (output / f"{number:02}.mp4").write_bytes(content)
    state = gr.State()
    first = show_shelf(page, state, "", view())
    assert first[page.gallery.older]["interactive"] and not first[page.gallery.newer]["interactive"]
    second = show_shelf(page, state, "", view(page=2))
    assert second[page.gallery.grid].count("data-action") == 6 and second[state]["page"] == 2
    assert not second[page.gallery.older]["interactive"]
    assert show_shelf(page, state, "29", view(page=2))[state]["page"] == 1


def test_an_empty_gallery_says_so(page: Page) -> None:
    assert say("gallery_none") in show_shelf(page, gr.State(), "", view())[page.gallery.grid]
    assert say("gallery_not_found") in show_shelf(page, gr.State(), "x", view())[page.gallery.grid]


def test_a_chosen_video_shows_how_it_was_made(page: Page, output: Path) -> None:
    video = write_video(output / "a.mp4")
    updates = show_chosen(page, gr.State(), "", view(name="a.mp4"))
    tab = page.gallery
    assert updates[tab.video]["value"] == str(video) == updates[tab.download]["value"]
    card = updates[tab.card]
    for part in (
        "a.mp4",
        "A red Ball bounces",
        "tiled VAE",
        "64 × 48",
        "4 frames at 8 fps",
        "sdpa",
        say("task_text_to_video"),
    ):
        assert part in card, part
    assert updates[tab.again]["visible"] and updates[tab.only_results]["visible"]


@pytest.mark.parametrize("content", ["", "no video"])
def test_a_damaged_video_can_be_seen_and_deleted(page: Page, output: Path, content: str) -> None:
    (output / "bad.mp4").write_text(content)
    updates, tab = show_chosen(page, gr.State(), "", view(name="bad.mp4")), page.gallery
    assert updates[tab.video]["value"] is None and not updates[tab.again]["visible"]
    assert not updates[tab.last_frame]["interactive"] and "bad.mp4" in updates[tab.card]
    assert say("gallery_unreadable") in updates[tab.grid]


@pytest.mark.parametrize("name", ["../secret.mp4", "/etc/passwd", "gone.mp4", "jobs", "<b>.mp4"])
def test_a_name_from_outside_shows_nothing(page: Page, output: Path, told: list[str], name: str) -> None:
    write_video(output.parent / "secret.mp4")
    updates = show_chosen(page, gr.State(), "", view(name=name))
    assert updates[page.gallery.video]["value"] is None and updates[page.gallery.hint]["visible"]
    assert "output folder" in told[0] and "<b>" not in told[0]
    for act in (reuse_options(page, view(name=name)), reuse(page, view(name=name), False)):
        assert set(act) == {page.tabs}
    assert set(use_last_frame(page, view(name=name), start_values(page.form))) == {page.tabs}


def test_settings_of_a_file_fill_the_form(page: Page, output: Path, told: list[str]) -> None:
    request = {
        **REQUEST,
        "num_inference_steps": 3,
        "sampler": "euler",
        "model": "tiny_t2v",
        "flow_shift": 2.5,
    }
    write_video(output / "a.mp4", {"request": request, "effective": {}})
    for keeps, seed in ((False, -1), (True, 7)):
        updates = reuse(page, view(name="a.mp4"), keeps)
        settings = collect(page.form, values_in(page, updates))
        asked = read_request({name: settings[name] for name in settings if name in REQUEST_FIELDS})
        assert to_mapping(asked) == to_mapping(replace(read_request(request), seed=seed))
        assert updates[page.tabs].selected == "generation"
    assert told == [say("gallery_restored", name="a.mp4")] * 2


def test_fields_that_the_video_left_alone_go_back_to_their_defaults(page: Page, output: Path) -> None:
    write_video(output / "a.mp4", {"request": {"task": "talk", "prompt": "x"}})
    updates = reuse(page, view(name="a.mp4"), False)
    form = page.form
    typed = start_values(form) | {form["width"]: "640", form["negative_prompt"]: "old", form["apg"]: True}
    changed = {w: u["value"] for w, u in updates.items() if w in form.components}
    settings = collect(form, typed | changed)
    assert "width" not in settings and "negative_prompt" not in settings and not settings["apg"]
    named = {name for name in form.widgets if form.widgets[name][0] in updates}
    assert named == {name for name in REQUEST_FIELDS if is_for(name, "talk")}
    assert not named & set(OPTION_FIELDS)


@pytest.mark.parametrize("task", TASKS)
def test_every_request_comes_back_as_it_was(page: Page, output: Path, task: str, told: list[str]) -> None:
    upload = output / "uploads" / "hash" / "p.png"
    upload.parent.mkdir(parents=True)
    upload.write_bytes(b"picture")
    values: dict[str, Any] = {"image": str(upload), "audio": [str(EXAMPLES / "hello.wav")], "prompt": "a | b"}
    values |= {"audio_guidance_scale": 2.5, "guidance_scale": [5.0, 1.0], "seconds": 2.0, "window_frames": 9}
    values |= {
        "speaker_boxes": [[0, 0, 8, 8], [8, 0, 16, 8]],
        "width": 64,
        "color_correction": 0.5,
        "seed": 3,
    }
    asked = read_request({"task": task, **{n: v for n, v in values.items() if is_for(n, task)}})
    video = write_video(output / "a.mp4", "")
    finish_job(page, video, asked)
    updates = reuse(page, view(name="a.mp4"), True)
    settings = collect(page.form, values_in(page, updates))
    again = read_request({name: settings[name] for name in settings if name in REQUEST_FIELDS})
    assert again == asked and told == [say("gallery_restored", name="a.mp4")]


def test_what_is_gone_is_told_and_left_out(page: Page, output: Path, told: list[str]) -> None:
    secret = output.parent / "secret.png"
    secret.write_bytes(b"x")
    (output / "link.png").symlink_to(secret)
    settings = VideoSettings(
        request={
            "task": "talk",
            "image": str(secret),
            "video": str(output / "link.png"),
            "audio": ("/gone/one.wav", str(EXAMPLES / "hello.wav")),
            "model": "nix",
            "sampler": "no-such",
            "loras": (LoraChoice(file="style"),),
        }
    )
    updates = request_updates(page, settings, keeps_seed=False)
    form = page.form
    assert updates[form["image"]]["value"] is None and updates[form["video"]]["value"] is None
    assert [updates[w]["value"] for w in form.widgets["audio"]] == [None, str(EXAMPLES / "hello.wav")]
    assert updates[form["model"]]["value"] == "" and updates[form["sampler"]]["value"] == ""
    assert updates[form["loras"]]["value"] == ""
    (line,) = told
    for name in ("secret.png", "link.png", "one.wav", "nix", "no-such", "style"):
        assert name in line, name
    assert str(output.parent) not in line


def test_a_toast_shows_no_foreign_html_and_has_an_end(page: Page, told: list[str]) -> None:
    loras = tuple(LoraChoice(file=f"<img src=x onerror={number}>") for number in range(90))
    request_updates(page, VideoSettings(request={"loras": loras}), keeps_seed=False)
    (line,) = told
    assert "<" not in line and line.count("onerror") == MOST_TOLD


def test_options_of_a_job_come_back_whole(page: Page, output: Path) -> None:
    options = RuntimeOptions(
        attention="sdpa", blocks_to_swap=20, use_tf32=True, output_dir="/x", models_dir="/y"
    )
    finish_job(page, write_video(output / "a.mp4"), read_request(REQUEST), options)
    updates = reuse_options(page, view(name="a.mp4"))
    settings = collect(page.form, values_in(page, updates))
    assert settings["attention"] == "sdpa" and settings["use_tf32"] and settings["blocks_to_swap"] == "20"
    named = {name for name in page.form.widgets if page.form.widgets[name][0] in updates}
    assert named == set(OPTION_FIELDS) - set(HIDDEN)
    assert updates[page.tabs].selected == "models"


def test_options_of_a_file_are_those_that_ran(page: Page, output: Path) -> None:
    write_video(output / "a.mp4")
    updates = reuse_options(page, view(name="a.mp4"))
    named = {name for name in page.form.widgets if page.form.widgets[name][0] in updates}
    assert named == {"attention", "quantization"}
    assert updates[page.form["quantization"]]["value"] == "disabled"


def test_a_dropped_file_is_read_and_only_read(page: Page, output: Path, told: list[str]) -> None:
    dropped = write_video(output / "uploads.mp4")
    tab = page.gallery
    updates = show_chosen(page, gr.State(), "", view(upload=str(dropped)))
    assert "A red Ball bounces" in updates[tab.card] and not updates[tab.only_results]["visible"]
    assert updates[tab.again]["visible"] and not told
    assert (
        values_in(page, reuse(page, view(upload=str(dropped)), False))[page.form["prompt"]]
        == REQUEST["prompt"]
    )
    assert delete_chosen(page, gr.State(), "", view(upload=str(dropped))) and dropped.exists()


@pytest.mark.parametrize(
    "comment", ["", "[" * 5000, '{"request": {"nix": 1}}', json.dumps({"request": {"seed": "<b>"}})]
)
def test_a_hostile_file_is_refused_in_one_toast(
    page: Page, output: Path, told: list[str], comment: str
) -> None:
    dropped = write_video(output / "d.mp4", comment)
    state = gr.State()
    updates = show_chosen(page, state, "", view(upload=str(dropped)))
    assert len(told) == 1 and "d.mp4" in told[0] and "<" not in told[0]
    assert updates[page.gallery.hint]["visible"] and updates[state]["upload"] is None
    told.clear()
    assert set(reuse(page, view(upload=str(dropped)), False)) == {page.tabs} and len(told) == 1


def test_delete_moves_the_file_and_clears_the_choice(page: Page, output: Path, told: list[str]) -> None:
    write_video(output / "a.mp4")
    state = gr.State()
    updates = delete_chosen(page, state, "", view(name="a.mp4"))
    assert (output / TRASH / "a.mp4").exists() and not (output / "a.mp4").exists()
    assert updates[state]["name"] is None and updates[page.gallery.hint]["visible"]
    assert told == [
        say("gallery_deleted", name="a.mp4")[0].upper() + say("gallery_deleted", name="a.mp4")[1:]
    ]


@pytest.mark.parametrize("task", TASKS)
def test_the_last_frame_becomes_the_start_picture(page: Page, output: Path, task: str) -> None:
    write_video(output / "a.mp4")
    values = start_values(page.form) | {page.form["task"]: task}
    after = values_in(page, use_last_frame(page, view(name="a.mp4"), values))
    chosen = after[page.form["task"]]
    assert chosen == task or not is_for("image", task)
    assert is_for("image", chosen) and Path(after[page.form["image"]]).is_relative_to(output / "uploads")
    assert picture_update(page, task, Path("x"))[page.form["image"]]["value"] == "x"


def test_sizes_are_short() -> None:
    assert [size_words(size) for size in (3, 45_600, 7_800_000, 2_500_000_000)] == [
        "1 kB",
        "46 kB",
        "7.8 MB",
        "2.5 GB",
    ]


def test_every_shown_value_is_escaped() -> None:
    html = settings_card(
        "<n>", "", VideoSettings(request={"prompt": "<p>"}, effective={"<e>": "<v>"}, notes=("<o>",))
    )
    assert not re.search(r"<(n|e|v|o)>", html) and "&lt;p&gt;" in html


def test_a_page_of_results_is_made_quickly(output: Path) -> None:
    content = write_video(output / "00.mp4").read_bytes()
    for number in range(1, 24):
        (output / f"{number:02}.mp4").write_bytes(content)
    list_results(output)
    begun = time.perf_counter()
    assert len(shelf_html(list_results(output), None, False)) < 2_000_000
    assert time.perf_counter() - begun < 0.3
