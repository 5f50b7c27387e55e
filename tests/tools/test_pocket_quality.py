"""The loss table: every mode and backend has its row, a loss is seen, and what can't run says so."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tools.pocket import quality
from tools.pocket.heldout.bench import Bench, Made
from tools.pocket.quality import EXACT, Row, measure, ssim, table
from wanvideo.model_cache import ModelCache
from wanvideo.registry import attention_backends, quantization_modes


def test_equal_videos_are_alike_and_noise_is_seen() -> None:
    torch.manual_seed(0)
    video = torch.rand(3, 2, 32, 32) * 2 - 1
    assert ssim(video, video) == pytest.approx(1.0)
    assert ssim(video + 0.3 * torch.randn_like(video), video) < 0.95


def test_every_option_has_a_row_and_a_loss_where_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def made(_: Bench, name: str, asked: Mapping[str, Any], options: Mapping[str, Any]) -> Made:
        torch.manual_seed(asked["seed"])
        video = torch.rand(3, 33, 16, 16) * 2 - 1
        return Made(name=name, video=video if options == EXACT else 0.9 * video, seconds=1.0)

    monkeypatch.setattr(quality, "make", made)
    bench = Bench(folder=tmp_path, clips=1, voices=None, human=False, cache=ModelCache())
    rows = measure(bench)
    names = {row.name for row in rows[1:]}
    assert names == {*quantization_modes(), *attention_backends()} - set(EXACT.values())
    ran = [row for row in rows[1:] if row.effective == row.name]
    assert {"fp8_e4m3fn", "fp4_scaled"} <= {row.name for row in ran}
    for row in ran:
        assert row.psnr is not None and 10 < row.psnr < 40 and row.ssim is not None
    text = table(rows)
    assert all(name in text for name in names)
    skipped = [row for row in rows[1:] if row.effective != row.name]
    assert all(f"{row.effective} runs instead" in text and row.psnr is None for row in skipped)


def test_a_row_that_ran_has_no_remark() -> None:
    line = table([Row(option="quantization", name="a", effective="a", psnr=30.0, ssim=0.9, lip_sync=0.8)])
    assert line.splitlines()[-1] == "| quantization | a | 30.0 | 0.900 | 0.800 |  |"
