"""Inspections are kept on disk: used while a file is the same, made again when it or they are not."""

import json
import os
import time
from pathlib import Path

import pytest

from tests.checkpoint.model_files import diffusion, write, write_encoders, write_shards
from tests.checkpoint.samples import shrunk
from wanvideo.cache_folder import cache_folder
from wanvideo.checkpoint import folders, kept_inspections
from wanvideo.checkpoint.folders import describe_folder


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Usable files of several components, shards, and files that are refused."""
    folder = tmp_path / "models"
    write_encoders(folder)
    write(folder / "wan_i2v.safetensors", diffusion(256))
    write_shards(folder / "sharded", diffusion(512))
    write(folder / "wan22.safetensors", diffusion(3072))
    (folder / "torn.safetensors").write_bytes(b"torn")
    return folder


@pytest.fixture
def inspected(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are really inspected."""
    names: list[str] = []
    inspect = folders.inspect_checkpoint

    def counting(path: Path) -> object:
        names.append(path.name)
        return inspect(path)

    monkeypatch.setattr(folders, "inspect_checkpoint", counting)
    return names


def kept_file() -> Path:
    return cache_folder(kept_inspections.FOLDER) / kept_inspections.NAME


def test_a_second_look_reads_no_header(models: Path, inspected: list[str]) -> None:
    first = describe_folder([models])
    assert len(first[0]) == 6 and len(first[1]) == 2 and len(inspected) == 8
    inspected.clear()
    assert describe_folder([models]) == first and inspected == []


def test_what_changes_is_inspected_again(models: Path, inspected: list[str]) -> None:
    describe_folder([models])
    inspected.clear()
    path = models / "wan_i2v.safetensors"
    stat = path.stat()
    write(path, diffusion(256, image=False))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # another size
    assert any(facts.task_hint == "t2v" for facts in describe_folder([models])[0])
    os.utime(path, ns=(1, 1))  # another time
    describe_folder([models])
    shard = models / "sharded/diffusion_pytorch_model-00002-of-00002.safetensors"
    os.utime(shard, ns=(1, 1))
    describe_folder([models])
    first = shard.name.replace("00002-of", "00001-of")
    assert inspected == ["wan_i2v.safetensors", "wan_i2v.safetensors", first]


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"version": 1}', b"\xff\xfe", b"[" * 100_000])
def test_a_damaged_cache_is_left_aside(content: bytes, models: Path, inspected: list[str]) -> None:
    first = describe_folder([models])
    kept_file().write_bytes(content)
    inspected.clear()
    assert describe_folder([models]) == first and len(inspected) == 8
    assert json.loads(kept_file().read_text())["entries"]


def test_a_damaged_entry_is_made_again(models: Path, inspected: list[str]) -> None:
    first = describe_folder([models])
    written = json.loads(kept_file().read_text())
    key = str(models / "wan_i2v.safetensors")
    del written["entries"][key]["told"]["dim"]
    written["entries"][str(models / "vae.safetensors")] = 5
    kept_file().write_text(json.dumps(written))
    inspected.clear()
    assert describe_folder([models]) == first
    assert sorted(inspected) == ["vae.safetensors", "wan_i2v.safetensors"]


def test_another_version_inspects_anew_and_gone_files_are_forgotten(
    models: Path, inspected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    describe_folder([models])
    (models / "vae.safetensors").unlink()
    monkeypatch.setattr(kept_inspections, "_version", lambda: "later")
    inspected.clear()
    describe_folder([models])
    assert len(inspected) == 7
    assert str(models / "vae.safetensors") not in json.loads(kept_file().read_text())["entries"]


def test_a_cache_folder_that_cannot_be_written_is_no_fault(models: Path) -> None:
    cache_folder(kept_inspections.FOLDER).parent.mkdir(parents=True, exist_ok=True)
    cache_folder(kept_inspections.FOLDER).write_text("a file stands in the way")
    assert len(describe_folder([models])[0]) == 6


def test_five_hundred_files_take_seconds(tmp_path: Path) -> None:
    """LoRA files, as a full folder has them, and some whole models. Seconds of the processor: others may be
    at work too.
    """
    lora = {
        f"diffusion_model.blocks.{block}.self_attn.{letter}.lora_{side}.weight": [4, 8]
        for block in range(30)
        for letter in "qkvo"
        for side in "AB"
    }
    for index in range(480):
        write(tmp_path / f"loras/{index}.safetensors", lora)
    for index in range(20):
        write(tmp_path / f"vae/{index}.safetensors", shrunk("wan2_1_vae", 12))
    start = time.process_time()
    usable, _ = describe_folder([tmp_path])
    first = time.process_time() - start
    start = time.process_time()
    assert describe_folder([tmp_path])[0] == usable and len(usable) == 500
    second = time.process_time() - start
    assert first < 30 and second < 10, (first, second)  # it takes 3 s and 0.3 s
    assert {facts.component for facts in usable} == {"lora", "vae"}
