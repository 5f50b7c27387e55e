"""What is there, what does the same work, and what a recipe lacks: over real headers of tiny models."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.folders import describe_folder
from wanvideo.downloads import state
from wanvideo.downloads.catalog import (
    CLIP,
    INFINITETALK_FP8,
    T2V_1_3B,
    TOKENIZER,
    UMT5,
    VAE,
    KnownFile,
    Recipe,
)
from wanvideo.downloads.state import (
    COMPONENTS,
    FOUND,
    MISSING,
    SERVED,
    WRONG,
    component_states,
    recipe_states,
)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Tiny models in a folder that is not private."""
    folder = write_tiny_models(tmp_path / "models")
    (folder / "model.json").unlink()
    return folder


def state_of(file: KnownFile, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str | None]:
    """The state of `file` in a recipe that has only it."""
    monkeypatch.setattr(state, "RECIPES", {"r": Recipe(name="r", title="R", files=(file,))})
    (found,) = recipe_states([folder], describe_folder([folder])[0])
    (one,) = found.files
    assert (found.missing == ()) == one.is_there
    assert found.missing_bytes == (0 if one.is_there else file.bytes)
    return one.state, one.path.name if one.path else None


def test_a_file_is_found_by_its_name_and_size(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (models / "tiny_vae.safetensors").read_bytes()
    (models / "sub").mkdir()
    (models / "sub" / VAE.file_name).write_bytes(content)
    own = replace(VAE, bytes=len(content))
    assert state_of(own, models, monkeypatch) == (FOUND, VAE.file_name)
    assert state_of(replace(own, dim=7, bytes=1), models, monkeypatch) == (WRONG, VAE.file_name)
    unsure = replace(own, dim=7, bytes=1, confirmed=False)
    assert state_of(unsure, models, monkeypatch)[0] == FOUND
    (models / "sub" / VAE.file_name).write_bytes(bytes(len(content)))
    for file in (unsure, replace(own, dim=7)):
        assert state_of(file, models, monkeypatch)[0] == WRONG, "it can't be read"
    assert state_of(replace(own, component=TOKENIZER), models, monkeypatch)[0] == FOUND


def test_a_file_of_another_name_does_the_same_work(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        replace(VAE, dim=8): "tiny_vae.safetensors",
        replace(T2V_1_3B, dim=256): "tiny_t2v.safetensors",
        replace(UMT5, dim=64): "tiny_umt5.safetensors",
        replace(CLIP, dim=80): "tiny_clip.safetensors",
        replace(INFINITETALK_FP8, dim=256): "tiny_infinitetalk.safetensors",
    }
    for file, name in cases.items():
        assert state_of(file, models, monkeypatch) == (SERVED, name), file.name
        assert state_of(replace(file, dim=1), models, monkeypatch) == (MISSING, None), file.name


def test_what_a_file_is_for_counts_too(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = replace(T2V_1_3B, dim=256)
    (models / "tiny_t2v.safetensors").rename(models / "tiny_t2v_720p.safetensors")
    assert state_of(text, models, monkeypatch)[0] == MISSING, "made for another size"
    (models / "tiny_infinitetalk.safetensors").rename(models / "infinitetalk_multi.safetensors")
    single = replace(INFINITETALK_FP8, dim=256)
    assert state_of(single, models, monkeypatch)[0] == MISSING, "made for two speakers"
    assert state_of(replace(single, name="x-multi"), models, monkeypatch)[0] == SERVED
    (models / "spiece.model").unlink()
    assert state_of(replace(UMT5, dim=64), models, monkeypatch)[0] == MISSING, "it has no tokenizer"


def test_private_models_serve_no_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_tiny_models(tmp_path / "models")
    assert state_of(replace(VAE, dim=8), folder, monkeypatch) == (MISSING, None)


def test_each_kind_of_file_has_its_row(models: Path) -> None:
    (models / "wan2.2.safetensors").write_bytes(b"damaged")
    usable, refused = describe_folder([models])
    states = {one.component: one for one in component_states(usable, refused)}
    assert list(states)[:-1] == list(COMPONENTS)
    assert [facts.path.name for facts in states["transformer"].usable] == [
        "tiny_i2v.safetensors",
        "tiny_t2v.safetensors",
    ]
    (odd,) = states["other"].refused
    assert odd.path.name == "wan2.2.safetensors" and not states["other"].is_needed
    assert sum(len(one.usable) + len(one.refused) for one in states.values()) == len(usable) + len(refused)
