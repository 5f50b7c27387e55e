"""The work of passes that a step cache leaves out: counted at the published size, timed at tiny size."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import step_caches
from benchmarks.page import table
from benchmarks.random_model import TINY, WAN_14B
from benchmarks.report import REASON
from tests.benchmarks.test_benchmarks import NO_CARD, machine, report_in
from wanvideo.step_cache.table import step_caches as rows


@NO_CARD
def test_operations_are_rows_without_a_card(tmp_path: Path) -> None:
    report = report_in(tmp_path, "caches")
    step_caches.run(report, machine(), quick=False, only=[])
    found = {row["cache"]: row for row in report.rows}
    assert list(found) == list(rows()) and not any(REASON in row or "ms" in row for row in report.rows)
    for name, row in found.items():
        assert row["computed_tflop"] == pytest.approx(1678, rel=0.001)
        led = row["left_out_tflop"] / row["computed_tflop"]
        assert led == pytest.approx(1 / WAN_14B.layers, rel=0.01) if name == "first_block" else led < 1e-4
        assert row["kept_gib"] == pytest.approx(rows()[name].kept * 32_760 * 5120 * 2 / 2**30)
    assert found["magcache"]["faster"] == pytest.approx(40 / found["magcache"]["steps"], rel=0.001)
    assert table("caches", report.rows).count("\n| ") == len(found) + 1


@NO_CARD
def test_both_kinds_of_passes_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of series without and with steps that are left out; the first and the last are always computed."""
    blocks: list[int] = []
    costs = step_caches.Costs(machine(), TINY, runs=True)
    for index, block in enumerate(costs._model.blocks):
        block.register_forward_hook(lambda *_, index=index: blocks.append(index))

    def count(call: Callable[[], Any], **_: int) -> float:
        blocks.clear()
        call()
        return len(blocks)

    monkeypatch.setattr(step_caches, "milliseconds", count)
    for name, cache in rows().items():
        row = costs.measure(cache)
        led = int(name == "first_block")
        assert (row["ms"], row["computed_ms"], row["left_out_ms"]) == (TINY.layers, TINY.layers, led)
