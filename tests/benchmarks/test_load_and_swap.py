"""Loading and block swap at tiny sizes on the CPU; what a card's trace tells; main memory."""

import mmap
import time
from pathlib import Path

import pytest
import torch

from benchmarks import load, random_files, swap
from benchmarks.measuring import HostPeak, host_gib
from benchmarks.page import table
from benchmarks.random_files import write_files
from benchmarks.report import REASON
from tests.benchmarks.test_benchmarks import NO_CARD, machine, report_in
from wanvideo.errors import UserError

SCALED = "fp8_e4m3fn_scaled"


@NO_CARD
def test_loads_have_times_and_sizes(tmp_path: Path) -> None:
    report = report_in(tmp_path, "load")
    load.run(report, machine(), quick=True, only=[])
    copies, *loads = report.rows
    assert all(copies[name] > 0 for name in ("pinned", "pageable", "read_by_one", "read_by_all"))
    assert [(row["what"], row["mode"]) for row in loads] == [
        *((load.MODEL, mode) for mode in load.MODES),
        (load.ENCODER, "disabled"),
    ]
    sizes = {row["mode"]: row["model_gb"] / row["file_gb"] for row in loads[:3]}
    assert 0.98 < sizes["disabled"] <= 1 and sizes["fp4_scaled"] < sizes[SCALED] < 0.75
    for row in loads:
        assert row["seconds"] > 0 and row["of_pinned"] == pytest.approx(
            row["gb_per_second"] / copies["pinned"]
        )
    assert "of page-locked" in table("load", report.rows)


@NO_CARD
def test_only_the_chosen_loads_are_measured(tmp_path: Path) -> None:
    report = report_in(tmp_path, "load")
    load.run(report, machine(), quick=True, only=[SCALED])
    assert [row["what"] for row in report.rows] == [load.COPIES, load.MODEL]


def test_reading_gives_the_first_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "PIECE_BYTES", 1000)
    content = torch.randint(256, (12_345,), dtype=torch.uint8)
    (tmp_path / "file").write_bytes(content.numpy().tobytes())
    buffer = torch.zeros(10_240, dtype=torch.uint8)
    load._read(tmp_path / "file", buffer, 3)
    assert torch.equal(buffer, content[:10_240])


@NO_CARD
def test_swapped_rows_are_identical_and_have_a_ratio(tmp_path: Path) -> None:
    report = report_in(tmp_path, "swap")
    swap.run(report, machine((9, 0)), quick=True, only=["fp4_scaled"])
    assert [(row["model"], row["swapped"]) for row in report.rows] == [
        (variant.model, blocks)
        for variant in swap.VARIANTS
        if variant.mode == "fp4_scaled"
        for blocks in variant.swapped
    ]
    assert all(REASON not in row and row["identical"] and row["ms"] > 0 for row in report.rows)
    residents = [line for line in table("swap", report.rows).splitlines() if "| 0 | True |" in line]
    assert len(residents) == 2 and all("| 1.000 |" in line for line in residents)


@NO_CARD
def test_a_model_with_a_lora_is_swapped_with_it(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    report = report_in(tmp_path, "swap")
    with caplog.at_level("INFO"):
        swap.run(report, machine((9, 0)), quick=True, only=[swap.LORA])
    assert "LoRA random_lora: 20 layers" in caplog.text
    assert [row["identical"] for row in report.rows] == [True] * len(swap.SWAPPED)


@NO_CARD
def test_a_wrong_output_is_not_identical(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wanvideo.placement.host_block.HostBlock.copy_to", lambda *_, **__: None)
    report = report_in(tmp_path, "swap")
    swap.run(report, machine((9, 0)), quick=True, only=["fp4_scaled"])
    assert [row.get("identical", False) for row in report.rows] == [True, False, False, False] * 2


def test_copies_of_a_trace_are_summed_by_direction() -> None:
    events = [
        {"cat": "kernel", "name": "gemm", "args": {}},
        {"cat": "gpu_memcpy", "name": "Memcpy HtoD (Pinned -> Device)", "args": {"bytes": 3_000_000_000}},
        {"cat": "gpu_memcpy", "name": "Memcpy HtoD (Pageable -> Device)", "args": {"bytes": 500_000_000}},
        {"cat": "gpu_memcpy", "name": "Memcpy DtoH (Device -> Pageable)", "args": {"bytes": 4_000}},
        {"cat": "gpu_memcpy", "name": "Memcpy DtoD (Device -> Device)", "args": {"bytes": 7}},
    ]
    assert swap.copied_in(events) == {"to_card_gb": 3.5, "to_host_mb": 0.004}
    assert swap.copied_in(events[1:]) == {}


def test_the_peak_of_main_memory_is_seen() -> None:
    fresh = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS  # malloc may hand out memory that was there before
    with HostPeak(0.001) as host, mmap.mmap(-1, 64 << 20, flags=fresh) as taken:
        taken[:: mmap.PAGESIZE] = bytes(len(taken) // mmap.PAGESIZE)
        time.sleep(0.05)
    assert 0.05 < host.added_gib < 0.2 and host.whole_gib >= host.own_gib
    assert host_gib()[0] < host.own_gib


def test_a_full_disk_is_told_before_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[int] = []
    monkeypatch.setattr(random_files, "check_room", lambda _, size: wanted.append(size))
    files = write_files(["t2v_14b", "vae"], tmp_path, SCALED, quick=True)
    for size, path in zip(wanted, files.values(), strict=True):
        assert 0.95 * path.stat().st_size < size < path.stat().st_size

    def refuse(folder: Path, size: int) -> None:
        raise UserError(f"The disk of {folder} is too full", value=size)

    monkeypatch.setattr(random_files, "check_room", refuse)
    with pytest.raises(UserError, match="too full"):
        write_files(["text_encoder"], tmp_path, SCALED, quick=True)
    assert not list(tmp_path.glob("*umt5*"))
