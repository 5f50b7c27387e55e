"""FP8 files under a 4-bit name: made denser once, kept in the cache folder, never beside the user's file."""

import logging
import os
from pathlib import Path

import pytest
import torch

from tests.checkpoint.quantized_files import official_state, scaled_fp8, small_model, write
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.load import load_transformer
from wanvideo.checkpoint.requantized import copy_path, denser_copy
from wanvideo.quantization.linear import QLinear
from wanvideo.registry import quantization_modes

MODES = quantization_modes()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "requantized"


@pytest.fixture
def facts(tmp_path: Path) -> CheckpointFacts:
    (tmp_path / "models").mkdir()
    return write(tmp_path / "models" / "wan_fp8.safetensors", scaled_fp8(official_state(small_model())))


def test_it_is_made_once(cache: Path, facts: CheckpointFacts, caplog: pytest.LogCaptureFixture) -> None:
    told: list[tuple[int, int]] = []
    with caplog.at_level(logging.INFO):
        copies = [
            denser_copy(facts, MODES["fp4_scaled"], progress=lambda *d: told.append(d)) for _ in range(2)
        ]
    assert copies[0] == copies[1] and copies[0].stored.weights == "nvfp4"
    assert list(cache.iterdir()) == [copies[0].path] and cache == copies[0].path.parent
    assert [path.name for path in facts.path.parent.iterdir()] == ["wan_fp8.safetensors"]
    assert caplog.messages == ["[LOAD] Re-quantizing wan_fp8.safetensors to fp4_scaled..."]
    assert len(told) == told[-1][1] + 1


def test_what_is_loaded_from_it_is_what_is_made_in_memory(cache: Path, facts: CheckpointFacts) -> None:
    for name in ("fp4_experimental", "fp4_scaled"):
        kept, made = (
            load_transformer(source, mode=MODES[name]) for source in (denser_copy(facts, MODES[name]), facts)
        )
        assert kept.state_dict().keys() == made.state_dict().keys()
        for key, tensor in made.state_dict().items():
            other = kept.state_dict()[key]
            assert torch.equal(tensor.flatten().view(torch.uint8), other.flatten().view(torch.uint8)), key
        assert isinstance(kept.blocks[0].attn1.to_q, QLinear)
    assert len(list(cache.iterdir())) == 2


def test_modes_with_the_same_weights_share_it(cache: Path, facts: CheckpointFacts) -> None:
    paths = {copy_path(facts, MODES[name]) for name in ("fp4_scaled", "fp4_scaled_fast")}
    assert len(paths) == 1 and paths != {copy_path(facts, MODES["fp4_experimental"])}
    assert paths.pop().parent == cache


def test_a_changed_source_gets_a_new_copy(cache: Path, facts: CheckpointFacts) -> None:
    first = denser_copy(facts, MODES["fp4_scaled"]).path
    other = denser_copy(facts, MODES["fp4_experimental"]).path
    os.utime(facts.path, ns=(1, 1))
    second = denser_copy(facts, MODES["fp4_scaled"]).path
    assert first != second and set(cache.iterdir()) == {second, other}


def test_other_files_stay_as_they_are(cache: Path, facts: CheckpointFacts, tmp_path: Path) -> None:
    dense = write(tmp_path / "models" / "dense.safetensors", official_state(small_model()))
    assert denser_copy(dense, MODES["fp4_scaled"]) is dense
    for name in ("disabled", "fp8_e4m3fn", "fp8_e5m2_scaled"):
        assert denser_copy(facts, MODES[name]) is facts
    assert not cache.exists()


def test_a_full_disk_is_told_and_the_job_goes_on(
    cache: Path, facts: CheckpointFacts, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert denser_copy(facts, MODES["fp4_scaled"]) is facts
    assert "no room for a copy" in caplog.text and not list(cache.iterdir())
