"""Every target at tiny size on the CPU, by the application's own classes; what is wrong is not met."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import forward_targets, pocket_targets, targets, tier_target
from benchmarks.forwards import Forwards
from benchmarks.page import table
from benchmarks.random_model import TINY, build
from benchmarks.report import REASON, Row
from benchmarks.stock import stock_transformer
from benchmarks.target_row import (
    Bench,
    Found,
    Goal,
    Target,
    Unmeasured,
    pocket_quality,
    ratio_at_least,
    ratio_at_most,
    value_at_most,
)
from tests.benchmarks.test_benchmarks import NO_CARD, machine, report_in
from wanvideo.registry import quantization_modes
from wanvideo.sampling.guidance import Branch, Guidance

H200 = replace(machine((9, 0)), gpus=(replace(machine((9, 0)).gpus[0], name="NVIDIA H200"),))
TINY_PAGE = "page and queue, beside the engine"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Row]:
    """Of all targets but the page's, whose figures have tests of their own."""
    folder = tmp_path_factory.mktemp("targets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WANVIDEO_CACHE", str(folder / "cache"))
        patch.setattr(targets, "TARGETS", [one for one in targets.TARGETS if one.name != TINY_PAGE])
        report = report_in(folder, "targets", files=folder / "files")
        targets.run(report, machine(), quick=True, only=[])
    assert all(row["target"] in table("targets", report.rows) for row in report.rows)
    return {row["target"]: row for row in report.rows}


@NO_CARD
def test_every_target_is_a_row_with_its_peer(rows: Mapping[str, Row]) -> None:
    assert len(rows) == len(targets.TARGETS) - 1 > 20
    for target in targets.TARGETS:
        row = rows.get(target.name, {REASON: ""})
        if REASON in row:
            assert target in (*tier_target.TARGETS, targets.TARGETS[-1]) or "roofline" in target.name
            continue
        assert (row["met"] is None) == (target.goal is None)
        assert row["goal"] == ("" if target.goal is None else target.goal.text)
        assert (row["peer"] is None) == (target.peer == "")
        if row["ratio"] is not None:
            assert row["ratio"] in (
                pytest.approx(row["value"] / row["peer"]),
                pytest.approx(row["peer"] / row["value"]),
            )
        assert target.name in row["command"]


@NO_CARD
def test_forward_passes_are_ratios_to_stock_and_have_an_error(rows: Mapping[str, Row]) -> None:
    for name in ("forward 480p bf16", "forward 480p bf16 eager", "forward 480p fp8", "forward 720p fp8"):
        row = rows[name]
        assert row["ratio"] == pytest.approx(row["peer"] / row["value"])
        error = float(row["quality"].split()[2])
        assert 0.01 < error < 0.1 if "fp8" in name else 0 < error < 0.01
    own, theirs = rows["forward 480p bf16"]["quality"].rpartition("fp32: ")[2].split(", stock ")
    assert 0 < float(own) <= 1.1 * float(theirs) < 0.02


@NO_CARD
def test_exact_rows_hold_and_passes_are_counted(rows: Mapping[str, Row]) -> None:
    assert all(rows[name]["quality"] == "bit-identical" for name in ("swap bf16", "swap fp8"))
    assert rows["talk passes"]["value"] == "3 / 2 / 2 / 1" and rows["talk passes"]["met"]
    assert rows["stop"]["value"] > 0 and "after the press" in rows["stop"]["how"]
    near = rows["VAE decode 480p"]["quality"].split()
    assert float(near[3]) > float(near[6]) > 20
    cold, second = (rows[f"pocket talk clip, {which}"] for which in ("cold", "second"))
    assert second["peer"] == cold["value"] > second["value"] > 0
    assert 0 < rows["second generation, beside denoise and VAE"]["value"] < second["value"]
    assert rows["distilled 4 steps"]["peer"] > 0


def test_without_a_card_nothing_is_built_for_its_rows(tmp_path: Path) -> None:
    def measure(_: Bench) -> Found:
        raise AssertionError("was measured")

    row = targets.measure(Target(name="one", measure=measure), bench_in(tmp_path, quick=False))
    assert row[REASON] == targets.NO_CARD and "--only one" in row["command"]


def test_a_machine_that_can_not_is_a_reason(tmp_path: Path) -> None:
    def measure(_: Bench) -> Found:
        raise Unmeasured("no such kernel")

    row = targets.measure(Target(name="one", measure=measure), bench_in(tmp_path))
    assert row[REASON] == "no such kernel" and "value" not in row


def bench_in(folder: Path, *, quick: bool = True, hardware: Any = None, **more: Any) -> Bench:
    return Bench(hardware or machine(), report_in(folder, "targets", hardware, **more), quick=quick)


@pytest.mark.parametrize(
    ("judge", "good", "bad"),
    [
        (ratio_at_least(1.25), Found(value=1, ratio=1.25), Found(value=9, ratio=1.24)),
        (ratio_at_most(1.02), Found(value=1, ratio=1.02), Found(value=0, ratio=1.03)),
        (value_at_most(0.5), Found(value=0.5, ratio=9), Found(value=0.6, ratio=0)),
    ],
)
def test_goals_look_at_the_figure_and_at_what_else_must_hold(judge: Any, good: Found, bad: Found) -> None:
    assert judge(good) and not judge(bad)
    assert not judge(replace(good, holds=False))
    assert Goal(text="", is_met=judge).is_met(good)


@NO_CARD
def test_blocks_that_come_back_wrong_are_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wanvideo.placement.host_block.HostBlock.copy_to", lambda *_, **__: None)
    row = targets.measure(named("swap bf16"), bench_in(tmp_path))
    assert row["quality"] == "NOT identical" and not row["met"]


@NO_CARD
def test_a_pass_too_many_is_not_met(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Guidance.branches

    def one_more(guidance: Guidance, step: int) -> tuple[Branch, ...]:
        branches = own(guidance, step)
        return (*branches, branches[-1]) if len(branches) == 1 else branches

    monkeypatch.setattr(Guidance, "branches", one_more)
    monkeypatch.setattr(pocket_targets, "PASSES", {(5.0, 1.0): 2, (1.0, 1.0): 1})
    row = targets.measure(named("talk passes"), bench_in(tmp_path))
    assert row["value"] == "2 / 2" and not row["met"]


def named(name: str) -> Target:
    return next(one for one in targets.TARGETS if one.name == name)


def test_the_stock_model_has_the_same_weights() -> None:
    ours, _ = build(TINY, next(mode for mode in quantization_modes().values() if mode.store is None))
    stock = stock_transformer(TINY, ours).state_dict()
    mine = ours.state_dict()
    assert stock.keys() == mine.keys()
    assert all(torch.equal(stock[name].float(), mine[name].to(stock[name].dtype).float()) for name in mine)
    big = "blocks.0.ffn.net.0.proj.weight"
    assert stock[big].data_ptr() == mine[big].data_ptr()


def test_what_a_row_is_computed_from_is_measured_too() -> None:
    found = [one.name for one in targets.chosen(["roofline"])]
    assert found == ["forward 480p bf16", "forward 480p fp8", "roofline bf16", "roofline 8 bits"]
    assert targets.chosen([]) == targets.TARGETS and not targets.chosen(["nothing of that name"])
    assert len({one.name for one in targets.TARGETS}) == len(targets.TARGETS)


def test_the_roofline_is_that_of_the_card(tmp_path: Path) -> None:
    report = report_in(tmp_path, "targets", H200)
    report.add({"target": forward_targets.BF16_480}, lambda: {"value": 2500.0})
    bench = Bench(H200, report, quick=False)
    found = named("roofline bf16").measure(bench)
    assert found.peer == pytest.approx(790) and found.value == pytest.approx(1678 / 2.5, rel=0.01)
    with pytest.raises(Unmeasured, match="forward 480p fp8"):
        named("roofline 8 bits").measure(bench)
    with pytest.raises(Unmeasured, match="this machine"):
        named("roofline bf16").measure(Bench(machine(), report, quick=False))
    at_720p = Forwards(forward_targets.SIZES["720p"], H200).flops()
    assert at_720p == pytest.approx(6523e12, rel=0.01)


def test_tiers_are_those_that_the_jobs_measured_here(tmp_path: Path) -> None:
    bench = bench_in(tmp_path)
    with pytest.raises(Unmeasured, match="bench jobs --only 8"):
        named("talk 14B in 8 GB").measure(bench)
    facts = dict.fromkeys(("quantization", "attention", "size", "preset", "swapped"), "x")
    jobs = report_in(tmp_path, "jobs")
    for gib, peak, finite in ((8, 7.9, True), (12, 12.1, True), (16, 15.0, False), (24, None, True)):
        key = {"job": tier_target.KIND, "what": tier_target.JOB, "gib": gib}
        jobs.add(key, lambda peak=peak, finite=finite: {"peak_gib": peak, "finite": finite, **facts})
    met = [targets.measure(one, bench).get("met") for one in tier_target.TARGETS]
    assert met == [True, False, False, None]
    elsewhere = Bench(H200, report_in(tmp_path, "targets", H200), quick=True)
    with pytest.raises(Unmeasured):
        named("talk 14B in 8 GB").measure(elsewhere)


def test_only_the_last_that_was_built_is_kept(tmp_path: Path) -> None:
    bench, built = bench_in(tmp_path), iter(range(9))
    asked = [bench.keep(name, lambda: next(built)) for name in ("a", "a", "b", "a")]
    bench.forget()
    assert [*asked, bench.keep("a", lambda: next(built))] == [0, 0, 1, 2, 3]


def test_the_pocket_models_loss_is_told() -> None:
    assert "PSNR" in pocket_quality(forward_targets.FAST_MODE) and "lip-sync" in pocket_quality("fp4_scaled")
    assert pocket_quality("no such mode") == ""
