"""The loss table: every mode and backend has its row, a loss is seen, and what can't run says so."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.emulation.in_application import PREFIX
from tools.pocket.heldout.bench import Bench, Made
from tools.pocket.quality import __main__ as command
from tools.pocket.quality import measure as measuring
from tools.pocket.quality.figures import (
    MachineTable,
    check_same,
    load_tables,
    save_tables,
    with_rows,
    with_table,
)
from tools.pocket.quality.measure import EXACT, Row, ssim
from tools.pocket.quality.page import BEGIN, END, losers, table, verdict, write_page
from wanvideo.errors import UserError
from wanvideo.hardware import probe_hardware
from wanvideo.registry import attention_backends, quantization_modes

LOSS = Row(option="quantization", name="a", effective="a", psnr=30.0, ssim=0.9, lip_sync=0.74)
ABSENT = Row(option="attention", name="b", effective="sdpa")
FIGURES = MachineTable(
    machine="2 CPU cores",
    torch="2.13.0",
    dtype="fp32",
    clips=2,
    rows=(Row(option="exact", name="exact", effective="", lip_sync=0.8), LOSS, ABSENT),
)
TITLES = {("quantization", "a"): "a", ("attention", "b"): "b", ("attention", "c"): "emulated: c"}


@pytest.fixture
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of documents, and videos that are made in no time: noise, a little darker than the exact."""

    def made(_: Bench, name: str, asked: Mapping[str, Any], options: Mapping[str, Any]) -> Made:
        torch.manual_seed(asked["seed"])
        video = torch.rand(3, 33, 16, 16) * 2 - 1
        return Made(name=name, video=video if options == EXACT else 0.9 * video, seconds=1.0)

    monkeypatch.setattr(measuring, "make", made)
    monkeypatch.setattr(command, "DOCS", tmp_path)
    (tmp_path / "quality.md").write_text(f"# Words\n\n{BEGIN}\n\nold\n\n{END}\n\nMore words.\n", "utf-8")
    return tmp_path


def lines_of(docs: Path) -> dict[str, str]:
    """name -> the rest of its line on the page."""
    lines = (docs / "quality.md").read_text("utf-8").splitlines()
    cells = [line.split(" | ", 2) for line in lines if line.startswith("| ")]
    return {parts[1]: parts[2] for parts in cells}


def test_equal_videos_are_alike_and_noise_is_seen() -> None:
    torch.manual_seed(0)
    video = torch.rand(3, 2, 32, 32) * 2 - 1
    assert ssim(video, video) == pytest.approx(1.0)
    assert ssim(video + 0.3 * torch.randn_like(video), video) < 0.95


def test_every_option_has_a_row_and_a_loss_where_it_ran(docs: Path) -> None:
    command.main(["--clips", "1", "--docs"])
    (kept,) = load_tables(docs / "quality.json")
    rows = {row.name: row for row in kept.rows[1:]}
    real = {*quantization_modes(), *attention_backends()} - set(EXACT.values())
    assert not any(name.startswith(PREFIX) for name in real)
    assert real < rows.keys() and all(name.startswith(PREFIX) for name in rows.keys() - real)
    emulated = {
        f"{PREFIX}{name}"
        for name in (
            "sageattn_3_fp4",
            "sageattn_3",
            "fp4_scaled_fast",
            "fp4_scaled_fast_w4a4",
            "fp8_e5m2_fast",
        )
    }
    assert {"fp8_e4m3fn", "fp4_scaled", *emulated} <= {
        name for name, row in rows.items() if row.effective == name
    }
    machine = probe_hardware()
    absent = {name for name, row in attention_backends().items() if row.unavailable_reason(machine)}
    assert absent and all(rows[name].effective not in (name, "") for name in absent)
    shown = lines_of(docs)
    for name, row in rows.items():
        if row.effective == name:
            assert row.psnr is not None and 10 < row.psnr < 40 and row.ssim is not None
        else:
            assert f"not on this machine: {row.effective} runs instead" in shown[name]
    for title in (
        "emulated: sageattn_3_fp4",
        "emulated: sageattn_3 (first and last step exact)",
        "emulated: fp4_scaled_fast (W4A4, as on FP4 cores)",
    ):
        assert title in shown


def test_single_rows_join_the_others(docs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["--clips", "1", "--docs", "--only", "fp4_scaled"])
    before = lines_of(docs)
    assert "not measured" in before["fp8_e5m2"] and "not measured" not in before["fp4_scaled"]
    command.main(["--clips", "1", "--docs", "--only", "fp8_e5m2", "flash_attn_2"])
    after = lines_of(docs)
    assert after["fp4_scaled"] == before["fp4_scaled"] and "not measured" not in after["fp8_e5m2"]
    assert "| fp8_e5m2 |" in capsys.readouterr().out
    text = (docs / "quality.md").read_text("utf-8")
    assert text.startswith("# Words\n") and text.endswith("More words.\n") and "old" not in text


def test_rows_measured_in_another_way_do_not_join(docs: Path) -> None:
    command.main(["--clips", "1", "--docs", "--only", "fp4_scaled"])
    before = (docs / "quality.json").read_text("utf-8")
    with pytest.raises(SystemExit, match="clips 1, this run has 2. Measure all rows"):
        command.main(["--clips", "2", "--docs", "--only", "fp8_e5m2"])
    assert (docs / "quality.json").read_text("utf-8") == before


def test_a_full_run_replaces_its_machine_alone() -> None:
    other = replace(FIGURES, machine="a card", rows=FIGURES.rows[:1])
    again = replace(FIGURES, clips=3)
    assert with_table([FIGURES, other], again) == [again, other]
    assert with_table([FIGURES], other) == [FIGURES, other]
    new = replace(FIGURES, rows=(FIGURES.rows[0], replace(ABSENT, effective="b", psnr=20.0)))
    joined = with_rows(FIGURES, new)
    assert [(row.name, row.psnr) for row in joined.rows] == [("exact", None), ("a", 30.0), ("b", 20.0)]


@pytest.mark.parametrize("change", [{"torch": "2.11.0"}, {"dtype": "bf16"}, {"clips": 3}, {"rows": 0.79}])
def test_what_must_be_the_same(change: dict[str, Any]) -> None:
    if "rows" in change:
        change = {"rows": (replace(FIGURES.rows[0], lip_sync=change["rows"]),)}
    check_same(FIGURES, replace(FIGURES, rows=(replace(FIGURES.rows[0], lip_sync=0.802),)))
    with pytest.raises(UserError, match="this run has"):
        check_same(FIGURES, replace(FIGURES, **change))


def test_tables_come_back_from_the_file(tmp_path: Path) -> None:
    assert load_tables(tmp_path / "none.json") == []
    save_tables(tmp_path / "quality.json", [FIGURES])
    assert load_tables(tmp_path / "quality.json") == [FIGURES]


def test_each_kind_of_row_has_its_remark() -> None:
    assert table(FIGURES.rows, TITLES).splitlines()[2:] == [
        "| exact | exact |  |  | 0.800 |  |",
        "| quantization | a | 30.0 | 0.900 | 0.740 |  |",
        "| attention | b |  |  |  | not on this machine: sdpa runs instead |",
        "| attention | emulated: c |  |  |  | not measured |",
    ]


def test_rows_over_the_limit_are_named(tmp_path: Path) -> None:
    ((row, lost),) = losers(FIGURES.rows)
    assert row == LOSS and lost == pytest.approx(0.06)
    assert verdict(FIGURES.rows, TITLES).endswith("Over it: a (0.060).")
    near = (FIGURES.rows[0], replace(LOSS, lip_sync=0.751), ABSENT)
    assert not losers(near) and verdict(near, TITLES).endswith("Every measured row keeps it.")
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN}{END}", "utf-8")
    write_page(page, [FIGURES, replace(FIGURES, machine="a card", rows=near)], TITLES)
    text = page.read_text("utf-8")
    assert text.count("Limit: no mode loses more than 0.05") == 2 and "on a card, torch" in text
