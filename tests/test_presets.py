"""Presets, request files, and how layers are joined."""

import json
from pathlib import Path
from typing import Any

import pytest

from wanvideo.checks import check_request
from wanvideo.errors import UserError
from wanvideo.inputs import inspect_inputs
from wanvideo.presets import (
    PROJECT,
    join_layers,
    list_presets,
    load_preset,
    preset_names,
    read_request_file,
)


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", preset_names())
def test_bundled_preset_is_a_request_that_can_be_made(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # its paths hold from any folder
    preset = load_preset(name)
    assert preset.label and preset.description
    request, options = join_layers([preset.request, preset.options])
    assert request.prompt
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
        "preset a.json: unknown part, got 'requests'; allowed: label, description, request, options.",
    ),
    ({"request": []}, "preset a.json: request and options must be JSON objects, got 'list'"),
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
]


@pytest.mark.parametrize(("layers", "expected"), JOINED)
def test_a_later_layer_replaces_what_it_names(layers: list[dict[str, Any]], expected: dict[str, Any]) -> None:
    request, options = join_layers(layers)
    found = {name: getattr(request, name, getattr(options, name, None)) for name in expected}
    assert found == expected
