"""Quantization from the request to the finished file: plan, lending, the command that converts."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.plan_cases import CARD, CPU, GPU, REAL, TEXT, plan
from tests.tiny_models import write_tiny_models
from wanvideo.cache_folder import REQUANTIZED
from wanvideo.checkpoint.catalog import ModelSet, resolve_models
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.cli import main
from wanvideo.effective_mode import StoredFormat
from wanvideo.errors import Cancelled
from wanvideo.lending import JobModels
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.quantization.linear import QLinear
from wanvideo.request import ProgressEvent
from wanvideo.stage_clock import StageClock

EIGHT = StoredFormat(weights="e4m3", scaled=True, layers=4, parameters=900, bytes=900)
FP8_MODELS = replace(REAL, transformer=replace(REAL.transformer, stored=EIGHT, bytes=1100))
LARGE_MODELS = replace(REAL, transformer=replace(REAL.transformer, num_parameters=14 * 10**9))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture
def cache_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def lender(files: ModelSet, cache: ModelCache, mode: str, **how: object) -> JobModels:
    return JobModels(files=files, cache=cache, device="cpu", dtype=torch.float32, quantization=mode, **how)  # type: ignore[arg-type]


def test_the_plan_tells_what_runs_and_what_is_kept_on_disk(cache_home: Path) -> None:
    made = plan(TEXT, models=FP8_MODELS, machine=CPU, options={"quantization": "fp4_scaled_fast"})
    assert made.quantization == made.effective()["quantization"] == "fp4_scaled"
    notes = "; ".join(made.notes)
    for words in ("FP4 not supported on this GPU", "re-quantized to real 4 bit, once", str(cache_home)):
        assert words in notes
    options = {"quantization": "fp4_scaled", "requantize": "as_stored"}
    kept = plan(TEXT, models=FP8_MODELS, machine=GPU, options=options)
    assert kept.quantization == "fp8_e4m3fn_scaled" and str(cache_home) not in "; ".join(kept.notes)


def test_auto_looks_at_the_size_of_the_card() -> None:
    assert plan(TEXT, machine=GPU).quantization == "disabled"
    assert plan(TEXT, machine=GPU, models=LARGE_MODELS).quantization == "fp8_e4m3fn_scaled_fast"
    larger = replace(GPU, gpus=(replace(CARD, total_bytes=80 << 30),))
    assert plan(TEXT, machine=larger, models=LARGE_MODELS).quantization == "disabled"
    assert plan(TEXT, machine=CPU, models=LARGE_MODELS).quantization == "disabled"


def test_each_mode_is_a_model_of_its_own(models: Path, caplog: pytest.LogCaptureFixture) -> None:
    files, cache = resolve_models("talk", None, [models]), ModelCache()
    lent, words = {}, []
    for mode in ("disabled", "fp8_e4m3fn", "fp4_scaled", "fp8_e4m3fn"):
        with caplog.at_level(logging.INFO):
            caplog.clear()
            with lender(files, cache, mode).transformer() as model:
                lent.setdefault(mode, model)
                assert lent[mode] is model
        words.append(caplog.messages)
    linear = [model.blocks[0].audio_cross_attn.q_linear for model in lent.values()]
    assert [type(part) is QLinear for part in linear] == [False, True, True]
    assert words[0][0] == "[LOAD] Loading model..."
    assert words[2][:2] == [
        "[LOAD] Loading model (fp4_scaled)...",
        "[INFO] FP4 quantization mode enabled (fp4_scaled)",
    ]
    assert words[3] == ["[CACHE] Using cached model (fp8_e4m3fn)"]


def test_loading_can_be_watched_and_stopped(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wanvideo.stage_clock.SAY_SECONDS", 0)
    files, cache, told = resolve_models("talk", None, [models]), ModelCache(), []

    def say(words: str) -> None:
        told.append(words)
        if len(told) == 5:
            raise Cancelled

    with pytest.raises(Cancelled), lender(files, cache, "fp8_e5m2", say=say).transformer():
        pass
    assert told[4].startswith("loading the model: 4 of ") and told[4].endswith(" layers")
    assert cache.bytes == 0


def test_the_words_belong_to_the_stage_at_hand() -> None:
    events: list[ProgressEvent] = []
    clock = StageClock(events.append, 2)
    clock.enter_window(1)
    clock.enter("denoise")
    clock.say("loading the model: 4 of 40 layers")
    told = (events[-1].stage, events[-1].window, events[-1].steps, events[-1].message)
    assert told == ("denoise", 1, 0, "loading the model: 4 of 40 layers")


def test_an_fp8_file_is_kept_or_made_denser(models: Path, tmp_path: Path, cache_home: Path) -> None:
    """The audio module stands beside a dense model: its own weights follow the same option."""
    small = tmp_path / "fp8.safetensors"
    convert = ["models", "convert", str(models / "tiny_infinitetalk.safetensors"), str(small)]
    assert main([*convert, "--quantization", "fp8_e4m3fn"]) == 0
    files = replace(resolve_models("talk", None, [models]), audio=inspect_checkpoint(small))
    formats = {}
    for as_stored in (True, False):
        with lender(files, ModelCache(), "fp4_scaled", as_stored=as_stored).transformer() as model:
            block = model.blocks[0]
            formats[as_stored] = (block.audio_cross_attn.q_linear.format, block.attn1.to_q.format)
        assert (cache_home / REQUANTIZED).exists() != as_stored
    assert formats == {True: ("e4m3", "nvfp4"), False: ("nvfp4", "nvfp4")}


def test_convert_by_command(models: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, output = models / "tiny_i2v.safetensors", tmp_path / "new.safetensors"
    asked = ["models", "convert", str(source), str(output), "--quantization", "fp8"]
    assert main([*asked, "--json"]) == 0
    answer = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert answer["mode"] == "fp8_e4m3fn" and answer["bytes"] == output.stat().st_size
    assert inspect_checkpoint(output).stored.weights == "e4m3"
    assert main(asked) == 2
    assert "exists already" in capfd.readouterr().err
    assert main([*asked, "--overwrite"]) == 0
    for wrong, words in (("nf4", "The nearest is fp4_scaled"), ("", "unknown quantization")):
        assert main([*asked[:-1], wrong, "--overwrite"]) == 2
        assert words in capfd.readouterr().err
    vae = ["models", "convert", str(models / "tiny_vae.safetensors"), str(tmp_path / "vae.safetensors")]
    assert main([*vae, "--quantization", "fp8"]) == 2
    assert "Only diffusion models" in capfd.readouterr().err


def test_a_video_says_in_which_mode_it_was_made(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ["generate", "--task", "text_to_video", "--prompt", "a ball", "--json", "--output", "a.mp4"]
    options = ["--set", f"models_dir={models}", "--model", "tiny_t2v", "--quantization"]
    options += ["fp8_e4m3fn_scaled_fast"]
    assert main([*flags, *options]) == 0, capfd.readouterr().err
    output = capfd.readouterr()
    effective = json.loads(output.out.splitlines()[-1])["effective"]
    told = json.loads(read_metadata(tmp_path / "a.mp4")["comment"])
    assert effective["quantization"] == told["effective"]["quantization"] == "fp8_e4m3fn_scaled"
    assert "FP8 matmul not supported on this GPU" in "; ".join(told["notes"])
