"""Memory and time in plain words, and on the command line."""

import json
import re
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.memory.cases import card, planned
from tests.memory.test_seconds import H200
from tests.plan_cases import CPU
from wanvideo import cli
from wanvideo.cache_folder import VARIABLE
from wanvideo.jobs.job import queue_file
from wanvideo.memory import measure
from wanvideo.memory.kept import read_calibration
from wanvideo.wording import describe_plan, describe_rates, duration


def test_a_small_card_is_told_what_is_swapped_and_tiled() -> None:
    words = dict(describe_plan(planned("talk", card(8), {"quantization": "fp4_scaled"}, size="720p")))
    swapped = r"fp4_scaled, \d\d of 40 blocks swapped, \d+ tokens at a time, text encoder swapped, tiled VAE"
    assert re.fullmatch(rf"{swapped}, \d\.\d of 8 GB expected, \d+\.\d GB of main memory", words["memory"])
    assert re.fullmatch(r"about [\d.]+ hours, uncalibrated: .* calibrate .*", words["time"])


def test_a_large_card_needs_few_words() -> None:
    memory = dict(describe_plan(planned("text_to_video", card(80))))["memory"]
    assert re.fullmatch(r"disabled, [\d.]+ of 80 GB expected, [\d.]+ GB of main memory", memory)


def test_a_cpu_is_told_main_memory() -> None:
    memory = dict(describe_plan(planned("text_to_video", CPU, small=True)))["memory"]
    assert "expected" not in memory and memory.endswith("GB of main memory")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "1 second"), (45.4, "45 seconds"), (600, "10 minutes"), (2 * 3600, "2.0 hours")],
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_every_part_of_memory_is_in_what_was_effective() -> None:
    effective = planned("talk", card(8), {"quantization": "fp4_scaled"}, size="720p").effective()
    assert effective["blocks_to_swap"] > 0 and effective["chunk_tokens"] > 0 and effective["vae_tile"] > 0
    assert (effective["num_cuda_streams"], effective["prefetch_blocks"]) == (2, 1)
    assert effective["pinned_percent"] == 100 and effective["text_layers_swapped"] == 24
    assert None not in effective.values() and "auto" not in effective.values()


def test_calibrate_measures_and_keeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    monkeypatch.setattr(cli, "probe_hardware", lambda: CPU)
    monkeypatch.setattr(measure, "measure_rates", lambda *_: H200)
    assert cli.main(["calibrate", "--json"]) == 0
    assert json.loads(capfd.readouterr().out) == json.loads(json.dumps(asdict(H200)))
    assert read_calibration(CPU).rates == H200
    assert any("attention, exact: 571" in line for line in describe_rates(H200))


@pytest.mark.parametrize("done", [True, False])
def test_unload_asks_the_queue_of_the_output_folder(
    done: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asked: list[Path] = []
    monkeypatch.setattr("wanvideo.jobs.orders.unload_models", lambda queue: asked.append(queue) or done)
    assert cli.main(["unload", "--output-dir", "films", "--json"]) == 0
    assert asked == [queue_file("films")]
    assert json.loads(capfd.readouterr().out) == {"unloaded": done}
