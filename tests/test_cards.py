"""Which cards make videos side by side, and the variations of one command on two of them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_models import write_tiny_models
from wanvideo import cli_side_by_side
from wanvideo.cards import VISIBLE, about_cards, card_count, card_environments
from wanvideo.cli import main
from wanvideo.hardware import Gpu, Hardware
from wanvideo.request import RuntimeOptions

CPU = Hardware(gpus=(), cpu="A processor", cores=2, ram_bytes=2**33, free_ram_bytes=2**32, system="Linux")
CARD = Gpu(name="A card", compute_capability=(8, 9), total_bytes=2**34, free_bytes=2**34, driver="1")
THREE = replace(CPU, gpus=(CARD, CARD, CARD))


@pytest.mark.parametrize(
    ("machine", "gpus", "count"),
    [(CPU, "auto", 1), (CPU, 4, 1), (THREE, "auto", 3), (THREE, 2, 2), (THREE, 9, 3)],
)
def test_no_more_cards_work_than_are_here(machine: Hardware, gpus: int | str, count: int) -> None:
    assert card_count(machine, gpus) == count == len(card_environments(machine, gpus))
    told = list(about_cards(RuntimeOptions(gpus=gpus), machine))
    assert bool(told) == (gpus != "auto" and int(gpus) > count)


def test_each_process_sees_one_card_and_keeps_to_those_that_are_visible(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(VISIBLE, raising=False)
    assert [each[VISIBLE] for each in card_environments(THREE, 2)] == ["0", "1"]
    assert card_environments(THREE, 1) == ({VISIBLE: "0"},)
    monkeypatch.setenv(VISIBLE, "4, GPU-ab ,7")
    assert [each[VISIBLE] for each in card_environments(THREE, "auto")] == ["4", "GPU-ab", "7"]
    assert card_environments(CPU, "auto") == ({},)


def test_variations_are_shared_out_and_told_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    models = write_tiny_models(tmp_path / "models")
    monkeypatch.setattr(cli_side_by_side, "card_environments", lambda *_: ({"CARD": "0"}, {"CARD": "1"}))
    flags = ["--task", "text_to_video", "--model", "tiny_t2v", "--prompt", "a ball", "--seed", "5"]
    places = ["--models-dir", str(models), "--output", str(tmp_path / "a.mp4")]
    assert main(["generate", *flags, *places, "--count", "3", "--json"]) == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    names = [Path(report["output"]).name for report in answer["variations"]]
    assert names == ["a.mp4", "a_2.mp4", "a_3.mp4"]
    assert [report["effective"]["seed"] for report in answer["variations"]] == [5, 6, 7]
    assert all((tmp_path / name).is_file() for name in names)


def test_a_process_that_fails_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    models = write_tiny_models(tmp_path / "models")
    monkeypatch.setattr(cli_side_by_side, "card_environments", lambda *_: ({}, {}))
    monkeypatch.setattr(cli_side_by_side.sys, "executable", "/bin/false")
    flags = ["--task", "text_to_video", "--model", "tiny_t2v", "--prompt", "a ball", "--count", "2"]
    status = main(["generate", *flags, "--models-dir", str(models), "--output", str(tmp_path / "a.mp4")])
    assert status == 1
    assert "ended with" in capfd.readouterr().err
