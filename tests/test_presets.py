"""Presets, one's own among them, request files, and how layers are joined."""

import json
from pathlib import Path
from typing import Any

import pytest

from wanvideo.checks import check_request
from wanvideo.errors import UserError
from wanvideo.inputs import inspect_inputs
from wanvideo.presets import (
    OWN,
    PROJECT,
    delete_preset,
    join_layers,
    list_presets,
    load_preset,
    preset_names,
    read_request_file,
    save_preset,
)
from wanvideo.request import TASKS


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


DEMOS = [preset.name for preset in list_presets() if "prompt" in preset.request]


@pytest.mark.parametrize("name", DEMOS)
def test_a_demo_is_a_request_that_can_be_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # its paths hold from any folder
    request, options = join_layers(load_preset(name).layers())
    assert len(DEMOS) > 3 and request.prompt
    check_request(request, options, inspect_inputs(request))


def test_the_demo_is_a_talking_picture() -> None:
    request = load_preset("pocket_demo").request
    assert request["image"] == str(PROJECT / "examples/girl.png")
    assert request["audio"] == (str(PROJECT / "examples/hello.wav"),)
    assert request["seed"] == 7


def test_presets_are_listed_by_name(tmp_path: Path) -> None:
    write(tmp_path / "b.json", {"label": "B"})
    write(tmp_path / "a.json", {"request": {"steps": 4}, "options": {"attention": "sdpa"}})
    write(tmp_path / "notes.txt", "no preset")
    first, second = list_presets(tmp_path)
    assert (first.name, first.label, dict(first.request)) == ("a", "a", {"num_inference_steps": 4})
    assert dict(first.options) == {"attention": "sdpa"}
    assert (second.name, second.label, dict(second.request)) == ("b", "B", {})


def test_paths_start_at_the_project(tmp_path: Path) -> None:
    absolute = str(tmp_path / "x.wav")
    asked = {"request": {"image": "examples/a.png", "audio": ["a.wav", absolute], "prompt": "a.png"}}
    write(tmp_path / "a.json", {**asked, "options": {"output_dir": "outputs"}})
    preset = load_preset("a", tmp_path)
    assert preset.request["image"] == str(PROJECT / "examples/a.png")
    assert preset.request["audio"] == (str(PROJECT / "a.wav"), absolute)
    assert preset.request["prompt"] == "a.png"
    assert preset.options["output_dir"] == str(PROJECT / "outputs")


@pytest.mark.parametrize(
    ("name", "near"), [("pocket_dmo", "pocket_demo"), ("zzz", "pocket_demo"), ("../presets/pocket_demo", "")]
)
def test_unknown_preset_names_near_ones(name: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown preset, got '{name}'; allowed: .*{near}"):
        load_preset(name)


def test_no_preset_at_all(tmp_path: Path) -> None:
    assert list_presets(tmp_path / "missing") == []
    with pytest.raises(UserError, match="none is installed"):
        load_preset("a", tmp_path)


FAULTY: list[tuple[Any, str]] = [
    ("{", "preset 'a.json' is not JSON"),
    ("", "preset 'a.json' is not JSON"),
    ("[" * 100_000, "preset 'a.json' is not JSON"),
    ("[1]", "preset 'a.json' must hold a JSON object, got 'list'"),
    (
        {"requests": {}},
        "preset a.json: unknown part, got 'requests'; allowed: label, description, hint, group, tier, cards,"
        " request, tasks, options.",
    ),
    ({"request": []}, "preset a.json: request, options and each of tasks must be JSON objects, got 'list'"),
    ({"group": "best"}, "preset a.json: unknown group, got 'best'; allowed: tier,"),
    ({"tasks": ["talk"]}, "preset a.json: tasks must be a JSON object with a part for each, got"),
    ({"tasks": {"dance": {}}}, "preset a.json: tasks must be a JSON object with a part for each, got"),
    ({"tasks": {"talk": {"stps": 4}}}, "preset a.json: unknown setting, got 'stps'"),
    ({"tier": "8"}, "preset a.json: tier must be a whole number and cards a list, got"),
    ({"cards": "RTX"}, "preset a.json: tier must be a whole number and cards a list, got"),
    ({"request": {"stps": 4}}, "preset a.json: unknown setting, got 'stps'"),
    ({"request": {"attention": "sdpa"}}, "preset a.json: unknown setting, got 'attention'"),
    ({"request": {"steps": 0}}, "preset a.json: num_inference_steps is out of range, got 0"),
    ({"options": {"base_precision": "fp8"}}, "preset a.json: base_precision is not one of its choices"),
]


@pytest.mark.parametrize(("content", "text"), FAULTY)
def test_faulty_preset_is_named(tmp_path: Path, content: Any, text: str) -> None:
    write(tmp_path / "a.json", content)
    with pytest.raises(UserError) as caught:
        load_preset("a", tmp_path)
    assert str(caught.value).startswith(text)
    assert not str(caught.value).endswith("..")


def test_preset_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(UserError, match=r"preset 'a\.json' is not JSON"):
        load_preset("a", tmp_path)


FORMS: list[dict[str, Any]] = [
    {"steps": 4, "attention": "sdpa", "audio": ["a.wav"]},
    {"request": {"steps": 4, "audio": ["a.wav"]}, "options": {"attention": "sdpa"}},
    {"steps": 4, "request": {"audio": "a.wav"}, "attention": "sdpa"},
]


@pytest.mark.parametrize("content", FORMS)
def test_request_file_in_either_form(tmp_path: Path, content: dict[str, Any]) -> None:
    values = read_request_file(write(tmp_path / "r.json", content))
    assert values == {"num_inference_steps": 4, "attention": "sdpa", "audio": ("a.wav",)}


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("nonsense", "request file 'r.json' is not JSON"),
        ({"request": {"cgf": 1}}, "unknown setting, got 'cgf'"),
    ],
)
def test_faulty_request_file_is_refused(tmp_path: Path, content: Any, text: str) -> None:
    with pytest.raises(UserError, match=text):
        read_request_file(write(tmp_path / "r.json", content))


@pytest.mark.parametrize(
    ("name", "text"), [("missing.json", "there is no such file"), (".", "cannot be read")]
)
def test_unreadable_request_file_is_refused(tmp_path: Path, name: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        read_request_file(tmp_path / name)


JOINED: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [
    ([], {"prompt": "", "seed": -1, "attention": "auto"}),
    ([{"seed": 1, "prompt": "a"}, {"seed": 2}], {"seed": 2, "prompt": "a"}),
    ([{"attention": "sdpa"}, {"strict": True}], {"attention": "sdpa", "strict": True}),
    ([{"num_frames": 81}, {"seconds": 2.0}], {"num_frames": None, "seconds": 2.0}),
    ([{"seconds": 2.0}, {"num_frames": 81}, {"seed": 1}], {"num_frames": 81, "seconds": None}),
    ([{"num_frames": 81, "seconds": 2.0}], {"num_frames": 81, "seconds": 2.0}),  # the planner refuses both
    ([{"seconds": 2.0, "steps": 4}, {"num_frames": None}], {"num_frames": None, "seconds": 2.0}),
]


@pytest.mark.parametrize(("layers", "expected"), JOINED)
def test_a_later_layer_replaces_what_it_names(layers: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    request, options = join_layers(layers)
    found = {name: getattr(request, name, getattr(options, name, None)) for name in expected}
    assert found == expected


def test_a_preset_speaks_of_each_task_in_its_own_words(tmp_path: Path) -> None:
    parts = {"talk": {"window_frames": 61}, "text_to_video": {"num_frames": 61, "width": None}}
    write(
        tmp_path / "a.json", {"request": {"steps": 4, "width": 64}, "tasks": parts, "options": {"strict": 1}}
    )
    write(tmp_path / "b.json", {"request": {"task": "image_to_video", "steps": 5}})
    two, one = list_presets(tmp_path)
    assert two.named("talk") == {"num_inference_steps": 4, "width": 64, "window_frames": 61, "strict": True}
    assert (
        two.named("text_to_video")["width"] is None and two.named("image_to_video").get("num_frames") is None
    )
    assert two.layers() == two.layers("talk") != two.layers("text_to_video")
    assert one.layers() == one.layers("image_to_video")
    assert [two.is_for(task) for task in TASKS] == [True, False, True]
    assert [one.is_for(task) for task in TASKS] == [False, True, False]


KEPT: dict[str, Any] = {
    "num_inference_steps": "6",
    "seconds": None,
    "guidance_scale": "5, 1",
    "use_tf32": True,
}


def test_a_preset_of_one_s_own_comes_back(tmp_path: Path) -> None:
    folder = tmp_path / "config" / "presets"
    kept = {**KEPT, "loras": [{"file": "style", "strength": "0.5"}]}
    saved = save_preset(" 我的 best_one ", "talk", kept, folder)
    read = load_preset("我的 best_one", folder)
    assert saved == read and read.group == OWN and read.label == "我的 best_one"
    assert [read.is_for(task) for task in TASKS] == [True, False, False]
    named = read.named("talk")
    assert (named["num_inference_steps"], named["guidance_scale"]) == (6, (5.0, 1.0))
    assert named["loras"][0].file == "style" and named["seconds"] is None and named["use_tf32"]
    save_preset("我的 best_one", "talk", {"num_inference_steps": 8}, folder)
    assert load_preset("我的 best_one", folder).named("talk") == {"num_inference_steps": 8}
    assert [file.name for file in folder.iterdir()] == ["我的 best_one.json"]
    delete_preset("我的 best_one", folder)
    assert preset_names(folder) == []
    with pytest.raises(UserError, match="there is no preset of your own"):
        delete_preset("standard", folder)


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("", "a preset can't have this name"),
        ("../up", "a preset can't have this name"),
        ("a.b", "a preset can't have this name"),
        ("a\nb", "a preset can't have this name"),
        ("n" * 49, "a preset can't have this name"),
        ("Con", "a preset can't have this name"),
        ("Standard", "a bundled preset has this name"),
    ],
)
def test_a_name_that_cannot_be_is_refused(tmp_path: Path, label: str, text: str) -> None:
    with pytest.raises(UserError, match=text):
        save_preset(label, "talk", KEPT, tmp_path)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_kept_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="num_inference_steps must be a whole number"):
        save_preset("mine", "talk", {"num_inference_steps": "many"}, tmp_path)
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="the preset can't be written"):
        save_preset("mine", "talk", KEPT, tmp_path / "file")
