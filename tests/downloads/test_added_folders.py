"""Added ComfyUI folders: remembered, read in part, forgotten, and never touched."""

import json
from pathlib import Path

import pytest

from wanvideo.cli import main
from wanvideo.downloads import added_folders
from wanvideo.downloads.added_folders import (
    KINDS,
    add_folder,
    config_folder,
    model_subfolders,
    remove_folder,
)
from wanvideo.errors import UserError
from wanvideo.prepare import POCKET, model_folders
from wanvideo.request import RuntimeOptions


@pytest.fixture
def comfy(tmp_path: Path) -> Path:
    """A ComfyUI folder whose VAEs lie on another disk."""
    models = tmp_path / "ComfyUI" / "models"
    for name in ("diffusion_models", "checkpoints", "loras"):
        (models / name).mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (models / "vae").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    return models


def test_only_folders_with_known_names_are_read(comfy: Path, tmp_path: Path) -> None:
    assert add_folder(comfy) == comfy
    options = RuntimeOptions(models_dir=str(tmp_path / "own"))
    places = [comfy / "diffusion_models", tmp_path / "elsewhere", comfy / "loras"]
    assert model_folders(options) == [tmp_path / "own", *places, POCKET]


def test_the_folder_of_comfyui_itself_will_do(comfy: Path) -> None:
    assert add_folder(comfy.parent) == comfy
    assert add_folder(comfy) == comfy and added_folders.added_folders() == [comfy]
    assert remove_folder(comfy.parent) == comfy and added_folders.added_folders() == []


def test_what_lies_in_the_models_folder_counts_once(comfy: Path) -> None:
    add_folder(comfy)
    inside = [folder for folder in model_folders(RuntimeOptions(models_dir=str(comfy))) if folder != comfy]
    assert inside == [comfy.parents[1] / "elsewhere", POCKET]


def test_a_folder_that_is_away_is_passed_over(comfy: Path) -> None:
    add_folder(comfy)
    comfy.rename(comfy.with_name("unplugged"))
    assert model_folders(RuntimeOptions(models_dir="own"))[1:] == [POCKET]
    assert added_folders.added_folders() == [comfy], "it may come back"
    assert remove_folder(comfy) == comfy


@pytest.mark.parametrize("kind", KINDS)
def test_every_name_of_comfyui_is_known(tmp_path: Path, kind: str) -> None:
    (tmp_path / "m" / kind).mkdir(parents=True)
    assert model_subfolders([tmp_path / "m"]) == [tmp_path / "m" / kind]


def test_mistakes_are_told(tmp_path: Path, comfy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    cases = [
        (["add-folder", str(tmp_path / "none")], "this folder does not exist"),
        (["add-folder", str(tmp_path / "empty")], "this is no ComfyUI models folder"),
        (["remove-folder", str(comfy)], "this folder was not added"),
    ]
    for command, words in cases:
        assert main(["models", *command]) == 2
        error = capfd.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not config_folder().exists()


def test_by_command(comfy: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "add-folder", str(comfy), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["added_folders"] == [str(comfy)]
    assert main(["models", "--json", "remove-folder", str(comfy)]) == 0
    assert json.loads(capfd.readouterr().out)["added_folders"] == []


@pytest.mark.parametrize("written", ["", "[]", '{"folders": [1]}', '{"folders": "x"}'])
def test_a_damaged_list_names_its_file(written: str) -> None:
    config_folder().mkdir(parents=True)
    (config_folder() / "model_folders.json").write_text(written)
    with pytest.raises(UserError, match=r"damaged, got '.*model_folders.json'. Remove this file"):
        model_folders(RuntimeOptions())


@pytest.mark.parametrize(
    ("system", "variable", "expected"),
    [
        ("Linux", "XDG_CONFIG_HOME", "conf"),
        ("Linux", "", "home/.config"),
        ("Windows", "APPDATA", "conf"),
        ("Windows", "", "home/AppData/Roaming"),
        ("Darwin", "", "home/Library/Application Support"),
    ],
)
def test_settings_lie_where_the_system_puts_them(
    monkeypatch: pytest.MonkeyPatch, system: str, variable: str, expected: str
) -> None:
    for name in (added_folders.VARIABLE, "XDG_CONFIG_HOME", "APPDATA"):
        monkeypatch.delenv(name, raising=False)
    if variable:
        monkeypatch.setenv(variable, "conf")
    monkeypatch.setattr(added_folders.platform, "system", lambda: system)
    monkeypatch.setattr(Path, "home", lambda: Path("home"))
    assert config_folder() == Path(expected) / "wanvideo"
