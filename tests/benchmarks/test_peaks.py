"""Forecasts of memory from headers alone, what attention is the quickest, the files that are only headers."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import peaks, quickest_attention
from benchmarks.candidates import EIGHT_BITS, EXACT
from benchmarks.header_files import write_headers
from benchmarks.page import table
from benchmarks.planned import planned
from benchmarks.quickest_attention import quickest
from benchmarks.random_files import DENSE, write_files
from benchmarks.random_model import TINY, WAN_14B
from benchmarks.random_sizes import TALK_ENCODERS
from benchmarks.report import REASON
from tests.benchmarks.test_benchmarks import NO_CARD, machine, report_in
from tests.benchmarks.test_targets import bench_in
from wanvideo.checkpoint.header import read_tensors
from wanvideo.checkpoint.inspect import inspect_checkpoint

NAMES = ("t2v_14b", "i2v_14b", "infinitetalk", *TALK_ENCODERS)


def test_a_header_tells_what_the_written_file_tells(tmp_path: Path) -> None:
    written = write_files(NAMES, tmp_path / "whole", DENSE, quick=True)
    holes = write_headers(NAMES, tmp_path / "headers", quick=True)
    for name in NAMES:
        assert holes[name].name == written[name].name
        assert read_tensors(holes[name]) == read_tensors(written[name])


def test_published_headers_take_no_room_and_are_kept(tmp_path: Path) -> None:
    (path,) = write_headers(["t2v_14b"], tmp_path, quick=False).values()
    stat = path.stat()
    assert stat.st_size > 28e9 and stat.st_blocks * 512 < 1e6
    assert inspect_checkpoint(path).num_layers == WAN_14B.layers
    assert write_headers(["t2v_14b"], tmp_path, quick=False)["t2v_14b"].stat().st_mtime_ns == stat.st_mtime_ns


def test_a_plan_is_made_of_headers_and_real_files(tmp_path: Path) -> None:
    bench = bench_in(tmp_path)
    plan = planned(bench, "vae", num_inference_steps=4)
    assert plan.settings.num_inference_steps == 4 and plan.quantization == DENSE
    assert plan.models.vae.path.parent != planned(bench).models.vae.path.parent
    assert any(plan.models.vae.path.read_bytes()[-1000:])


@NO_CARD
def test_forecasts_are_rows_without_a_card(tmp_path: Path) -> None:
    report = report_in(tmp_path, "peaks")
    peaks.run(report, machine(), quick=False, only=["480p"])
    assert len(report.rows) == len(peaks.MODES) * len(peaks.FRAMES)
    found = {(row["mode"], row["frames"]): row for row in report.rows}
    assert all(row["measured_gib"] is None and REASON not in row for row in report.rows)
    whole, fp8, fp4 = (found[mode, 81]["forecast_gib"] for mode in peaks.MODES)
    assert whole > 27 > fp8 > 14 > fp4 > 8.2
    assert found[DENSE, 121]["forecast_gib"] > whole and found[DENSE, 121]["tokens"] == 48360
    assert found[DENSE, 81]["card"] == "8 GB"
    assert table("peaks", report.rows).count("\n| disabled") == len(peaks.FRAMES)


@NO_CARD
def test_a_forward_pass_is_measured_with_all_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    measurer = peaks.Peaks(machine(), peaks._models(tmp_path, quick=True), quick=True)
    monkeypatch.setattr(peaks, "peak_gib", lambda: float(len(seen)))
    monkeypatch.setattr(peaks, "our_call", lambda model, *_: lambda: seen.append(len(model.blocks)))
    assert measurer.measure(DENSE, (64, 64), 5)["measured_gib"] == 1
    assert seen == [peaks.BLOCKS_RUN] and len(measurer._model(DENSE).blocks) == TINY.layers

    def fail() -> None:
        raise torch.OutOfMemoryError

    monkeypatch.setattr(peaks, "our_call", lambda *_: fail)
    row = measurer.measure(DENSE, (64, 64), 5)
    assert row["measured_gib"] == peaks.NO_ROOM
    assert peaks.NO_ROOM in table("peaks", [{"mode": DENSE, "size": "64p", "frames": 5, **row}])


def test_the_quickest_attention_is_chosen_and_failures_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
        time.sleep(0.02)

    def quick(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
        time.sleep(0.001)

    def broken(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
        raise RuntimeError("no kernel image")

    found = ((slow, EXACT, True), (quick, EIGHT_BITS, False), (broken, EXACT, True))
    monkeypatch.setattr(quickest_attention, "_functions", lambda _: found)
    latents = torch.zeros(1, *TINY.latents)
    best = quickest(machine(), TINY, latents, only_required=False)
    assert best.attend is quick and "no kernel image" in best.told
    assert quickest(machine(), TINY, latents, only_required=True).attend is slow
    assert quickest(machine(), TINY, latents, only_required=False, kinds=(EXACT,)).attend is slow


def test_what_the_requirements_bring() -> None:
    found = quickest_attention._required_packages()
    assert {"torch", "comfy_kitchen"} <= found and "sageattention" not in found
    kept = [candidate.backend for candidate in quickest_attention._dense(machine())]
    assert kept == sorted(quickest_attention.TORCH)
