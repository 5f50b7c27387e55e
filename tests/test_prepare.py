"""From a request to plans: folders, and places where nothing can be written."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from wanvideo.errors import UserError
from wanvideo.prepare import KEPT_FREE_BYTES, POCKET, PROJECT, model_folders, prepare
from wanvideo.request import GenerationRequest, RuntimeOptions

TEXT = GenerationRequest(task="text_to_video", prompt="a red ball", seed=7)


@pytest.mark.parametrize(
    ("models_dir", "expected"),
    [
        (None, [PROJECT / "models"]),
        ("mine", [Path("mine"), POCKET]),
        ("../models", [Path("../models"), POCKET]),
        (str(PROJECT / "models"), [PROJECT / "models"]),
    ],
)
def test_the_models_folder_nobody_chose_is_the_projects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_dir: str | None, expected: list[Path]
) -> None:
    monkeypatch.chdir(tmp_path)
    options = RuntimeOptions() if models_dir is None else RuntimeOptions(models_dir=models_dir)
    assert model_folders(options) == expected


def test_a_drive_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows no folder above a path on such a drive exists, not even the last."""
    monkeypatch.setattr(Path, "exists", lambda *_, **__: False)
    with pytest.raises(UserError, match="the output folder cannot be written"):
        prepare(TEXT, RuntimeOptions(), Path("Z:/videos/out.mp4"))


def test_a_video_that_the_disk_cannot_hold_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = KEPT_FREE_BYTES + (100 << 20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=free))
    options = RuntimeOptions(output_dir=str(tmp_path / "new" / "out"))
    prepare(TEXT, options)
    assert not (tmp_path / "new").exists()
    with pytest.raises(UserError, match="the disk of the output folder has 314.6 MB free and this takes"):
        prepare(replace(TEXT, num_frames=1001, width=1920, height=1088), options)
    free = KEPT_FREE_BYTES
    with pytest.raises(UserError, match="Free some space"):
        prepare(TEXT, options)
