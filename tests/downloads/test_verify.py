"""`verify`: whole files pass; a changed byte, a missing end, a wrong size and NaN are told."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tests.downloads.hub_server import Served, StandIn
from wanvideo.cli import main
from wanvideo.downloads import verify as verifying
from wanvideo.downloads.catalog import VAE
from wanvideo.downloads.digest import sha256_of
from wanvideo.downloads.download import download
from wanvideo.downloads.verify import Verdict, verify
from wanvideo.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(1000), "b": torch.zeros(10, dtype=torch.float8_e4m3fn)}, str(file))
    return file


def verdict(path: Path, *, numbers: bool = False) -> Verdict:
    (one,) = verify(path, lambda _: None, scans_numbers=numbers)
    return one


def change_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def test_a_downloaded_file_is_compared_with_what_was_recorded(path: Path, server: StandIn) -> None:
    known = replace(VAE, path="x.safetensors", sha256=None)
    server.serve(known, Served(path.read_bytes()))
    (file,) = download([known], path.parent, lambda _: None).brought
    assert not verdict(file).problems and "downloaded file" in " ".join(verdict(file).notes)
    change_last_byte(file)
    assert verdict(file).problems == ("x.safetensors has other bytes than the downloaded file",)


def test_a_published_file_is_compared_with_its_hash(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sha256, size = sha256_of(path, lambda _: None), path.stat().st_size
    known = replace(VAE, path=path.name, sha256=sha256, bytes=size)
    monkeypatch.setattr(verifying, "FILES", {"x": known})
    assert not verdict(path).problems
    change_last_byte(path)
    assert "other bytes than the published file" in verdict(path).problems[0]
    monkeypatch.setattr(verifying, "FILES", {"x": replace(known, bytes=7)})
    assert verdict(path).problems == (f"{path.name} has {size} bytes; the published file has 7",)


def test_without_a_record_that_is_said(path: Path) -> None:
    assert not verdict(path).problems
    assert "no hash is on record" in verdict(path).notes[-1]


def test_a_file_without_its_end_is_not_whole(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-8])
    assert "is incomplete" in verdict(path).problems[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_are_looked_at_when_asked(path: Path, bad: float) -> None:
    assert "every number is finite" in verdict(path, numbers=True).notes
    save_file({"a": torch.ones(10), "b": torch.tensor([1.0, bad], dtype=torch.bfloat16)}, str(path))
    assert not verdict(path).problems
    assert verdict(path, numbers=True).problems == (f"{path.name} holds NaN or infinite numbers in b",)


def test_numbers_of_other_formats_are_not_pretended(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3)}, tmp_path / "a.pth")
    assert not verdict(tmp_path / "a.pth").problems
    with pytest.raises(UserError, match="in .safetensors files only"):
        verdict(tmp_path / "a.pth", numbers=True)


def test_by_command(path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", str(path), "--json", "--numbers"]) == 0
    (answer,) = json.loads(capfd.readouterr().out)["files"]
    assert answer["ok"] and answer["sha256"] == sha256_of(path, lambda _: None)
    path.write_bytes(path.read_bytes()[:-8])
    assert main(["models", "verify", str(path), "--json"]) == 2
    streams = capfd.readouterr()
    assert not json.loads(streams.out)["files"][0]["ok"] and "is incomplete" in streams.err
    assert main(["models", "verify", str(path.with_name("none"))]) == 2
