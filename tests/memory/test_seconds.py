"""Forecasts of time: what they follow, where rates come from, and how finished jobs correct them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.memory.cases import card, job, planned
from tests.plan_cases import CPU
from wanvideo.cache_folder import VARIABLE
from wanvideo.memory import measure
from wanvideo.memory.decide import decide_memory
from wanvideo.memory.kept import keep_rates, read_calibration, record_compiling, record_job
from wanvideo.memory.rates import DENSE, FAST, OWN, Calibration, Rates, guessed_rates
from wanvideo.memory.seconds import block_seconds, copy_seconds, stage_seconds
from wanvideo.memory_plan import Forecast, MemoryPlan, StageForecast, SwapPlan
from wanvideo.options import RuntimeOptions
from wanvideo.registry import attention_backends

# Of the H200 that was measured
H200 = Rates(
    matmul={DENSE: 760, FAST: 1450},
    attention={"": 571},
    memory=4800,
    pinned=55,
    pageable=21,
    convolution=100,
    cpu=1,
)
WHOLE = MemoryPlan()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))


def test_a_forward_of_14b_takes_as_long_as_measured() -> None:
    """cuDNN attention, blocks compiled: 2.72 s at 832x480, stock code 3.15 s."""
    made = job(passes=1)
    assert 40 * block_seconds(made, WHOLE, H200) == pytest.approx(2.72, rel=0.1)
    assert stage_seconds(made, WHOLE, H200, 0.8)["denoise"] == pytest.approx(27.2, rel=0.1)


def test_decoding_takes_as_long_as_measured() -> None:
    assert stage_seconds(job(), WHOLE, H200, 0.8)["decode"] == pytest.approx(2.79, rel=0.05)


def test_swapping_hides_behind_the_computing() -> None:
    made = replace(job(passes=1), matmul=DENSE)
    resident = stage_seconds(made, WHOLE, H200, 1.0)["denoise"]
    swap = SwapPlan(blocks=40, pinned_bytes=1 << 40)
    hidden = stage_seconds(made, MemoryPlan(transformer=swap), H200, 1.0)["denoise"]
    plain = stage_seconds(made, MemoryPlan(transformer=replace(swap, asynchronous=False)), H200, 1.0)
    pageable = MemoryPlan(transformer=replace(swap, pinned_bytes=0))
    copies = 10 * 40 * copy_seconds(made, MemoryPlan(transformer=swap), H200, 1.0)
    assert hidden == pytest.approx(resident)
    assert plain["denoise"] == pytest.approx(resident + copies)
    assert copy_seconds(made, pageable, H200, 1.0) > copy_seconds(made, MemoryPlan(transformer=swap), H200, 1)
    assert copy_seconds(made, pageable, H200, 0.5) == 2 * copy_seconds(made, pageable, H200, 1.0)


def test_slow_copies_are_shared_by_passes_that_go_together() -> None:
    made, slow = job("talk", "square", passes=3), replace(H200, pinned=1.0, pageable=1.0)
    swap = SwapPlan(blocks=40, pinned_bytes=1 << 40)
    alone, together = (
        stage_seconds(made, MemoryPlan(transformer=swap, passes_together=along), slow, 1.0)["denoise"]
        for along in (False, True)
    )
    assert together < 0.5 * alone
    resident = stage_seconds(made, WHOLE, H200, 1.0)["denoise"]
    hidden = stage_seconds(made, MemoryPlan(transformer=swap, passes_together=True), H200, 1.0)["denoise"]
    assert hidden == pytest.approx(resident)


def test_chunks_dequantize_again() -> None:
    for mode, again in (("fp4_scaled", True), ("disabled", False)):
        whole, chunked = (
            block_seconds(job(mode=mode), MemoryPlan(chunk_tokens=chunk), H200) for chunk in (0, 4096)
        )
        assert (chunked > whole) == again


@pytest.mark.parametrize("name", ["RTX 3060", "RTX 4090", "RTX 5090", "NVIDIA H200", "a card of tomorrow"])
def test_guesses_are_made_for_every_card(name: str) -> None:
    machine = card(24)
    machine = replace(machine, gpus=(replace(machine.gpus[0], name=name),))
    rates = guessed_rates(machine)
    assert rates.matmul[DENSE] <= rates.matmul[FAST] <= rates.matmul[OWN]
    assert 0 < rates.pageable < rates.pinned and rates.memory > 0


def test_a_guess_says_so_and_a_measurement_does_not() -> None:
    made, options, machine = job(), RuntimeOptions(), card(24)
    guessed = decide_memory(made, options, machine, Calibration())
    measured = decide_memory(made, options, machine, Calibration(rates=H200))
    assert not guessed.forecast.calibrated and measured.forecast.calibrated
    assert guessed.memory == measured.memory
    assert guessed.forecast.seconds > measured.forecast.seconds > 0


def test_a_cpu_has_a_forecast_too() -> None:
    forecast = planned("text_to_video", CPU, small=True).forecast
    assert forecast.seconds > 1000 and forecast.device_bytes == 0 and forecast.host_bytes > 1e9


FORECAST = Forecast(
    stages={"text": StageForecast(seconds=1.0), "denoise": StageForecast(seconds=100.0)}, calibrated=True
)


def corrections(kind: str) -> dict[str, float]:
    return dict(read_calibration(CPU).corrections.get(kind, {}))


def test_finished_jobs_correct_the_next_forecast() -> None:
    record_job("a", FORECAST, {"text": 2.0, "denoise": 150.0, "join": 1.0}, 0, CPU)
    assert corrections("a") == {"text": 2.0, "denoise": 1.5}
    assert corrections("b") == {}
    # The next forecast has the correction in it, and the job took as long as it said.
    corrected = Forecast(stages={"denoise": StageForecast(seconds=150.0)})
    record_job("a", corrected, {"denoise": 150.0}, 0, CPU)
    assert corrections("a") == {"text": 2.0, "denoise": 1.5}
    record_job("a", corrected, {"denoise": 300.0}, 0, CPU)
    assert corrections("a")["denoise"] == pytest.approx(2.25)
    made = replace(job(), kind="a")
    plain = decide_memory(made, RuntimeOptions(), CPU, Calibration()).forecast
    known = decide_memory(made, RuntimeOptions(), CPU, read_calibration(CPU)).forecast
    assert known.calibrated
    assert known.stages["denoise"].seconds == pytest.approx(2.25 * plain.stages["denoise"].seconds)


def test_compiling_is_kept_apart() -> None:
    record_job("a", FORECAST, {"denoise": 100.0, "compile": 50.0}, 0, CPU)
    record_compiling("a", {"denoise": 100.0, "compile": 50.0}, CPU)
    record_compiling("a", {"denoise": 100.0}, CPU)
    record_compiling("b", {"compile": 3.0}, CPU)
    assert corrections("a") == {"denoise": 1.0}
    assert read_calibration(CPU).compiling == {"a": 50.0, "b": 3.0}


def test_new_rates_forget_corrections_of_the_old_ones() -> None:
    record_job("a", FORECAST, {"denoise": 150.0}, 0, CPU)
    keep_rates(CPU, H200)
    assert read_calibration(CPU) == Calibration(rates=H200)
    assert read_calibration(card(24)) == Calibration()


@pytest.mark.parametrize("content", ["", "[1]", '{"cpu": 1}', "{"])
def test_a_damaged_file_means_no_measurement(content: str) -> None:
    keep_rates(CPU, H200).write_text(content)
    assert read_calibration(CPU).rates is None


def test_a_peak_above_the_forecast_is_told(caplog: pytest.LogCaptureFixture) -> None:
    forecast = Forecast(stages={"denoise": StageForecast(device_bytes=10 << 30, seconds=1)})
    record_job("a", forecast, {}, 10 << 30, CPU)
    assert not caplog.records
    record_job("a", forecast, {}, 12 << 30, CPU)
    assert "peak" in caplog.text


def test_a_cpu_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "SECONDS_EACH", 0.05)
    rates = measure.measure_rates(CPU)
    exact = next(name for name, row in attention_backends().items() if row.fallback is None)
    assert set(rates.matmul) == {DENSE} and set(rates.attention) == {"", exact}
    numbers = [*rates.matmul.values(), *rates.attention.values(), rates.memory, rates.pinned, rates.cpu]
    assert all(number > 0 for number in numbers) and rates.convolution > 0
    json.dumps(rates.matmul)
    keep_rates(CPU, rates)
    assert read_calibration(CPU).rates == rates
