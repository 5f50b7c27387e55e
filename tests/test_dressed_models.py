"""How a lent transformer is dressed for a job: what belongs to the cached model, what is taken off again."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.models.test_projections import run
from tests.quantization.weights import relative_error
from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.catalog import ModelSet, resolve_models
from wanvideo.errors import Cancelled
from wanvideo.lending import JobModels
from wanvideo.model_cache import ModelCache
from wanvideo.models.rms_norm import RMS_NORMS
from wanvideo.pipeline import generate
from wanvideo.prepare import prepare
from wanvideo.request import ProgressEvent, read_options, read_request
from wanvideo.torch_switches import TorchSwitches


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def files(folder: Path) -> ModelSet:
    return resolve_models("talk", None, [folder])


def lender(files: ModelSet, cache: ModelCache, **how: Any) -> JobModels:
    return JobModels(files=files, cache=cache, device="cpu", dtype=torch.float32, **how)


@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled"])
def test_joined_projections_are_another_model_in_the_cache(files: ModelSet, mode: str) -> None:
    cache, outputs, models = ModelCache(), [], []
    for joins in (False, True, False):
        with lender(files, cache, quantization=mode, joins_projections=joins).transformer() as model:
            assert (model.blocks[0].attn1.joined is not None) == joins
            outputs.append(run(model))
            models.append(model)
    assert models[0] is models[2] is not models[1]
    assert relative_error(outputs[1], outputs[0]) < 1e-6 and torch.equal(outputs[0], outputs[2])


def test_what_stays_apart_is_logged(
    files: ModelSet, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("wanvideo.models.projections.why_apart", lambda _: "they differ")
    with (
        caplog.at_level(logging.WARNING),
        lender(files, ModelCache(), joins_projections=True).transformer() as model,
    ):
        assert model.blocks[0].attn1.joined is None
    assert caplog.messages == ["[INFO] 4 groups of projections are not fused: they differ"]


def test_the_norm_follows_each_job_without_loading(files: ModelSet) -> None:
    cache, models = ModelCache(), []
    for name in (*RMS_NORMS, *RMS_NORMS):
        with lender(files, cache, rms_norm=name).transformer() as model:
            models.append(model)
            assert all(block.rms_norm is RMS_NORMS[name] for block in model.blocks)
    assert all(model is models[0] for model in models)


def test_the_layout_is_checked_while_lent_and_no_longer(files: ModelSet) -> None:
    cache, before = ModelCache(), 0
    for checks, fails in ((False, False), (True, False), (True, True), (False, False)):
        try:
            with lender(files, cache, checks_layout=checks).transformer() as model:
                count = sum(len(module._forward_pre_hooks) for module in model.modules())
                assert (count > before) == checks
                if fails:
                    raise Cancelled
        except Cancelled:
            assert fails
    with lender(files, cache).transformer() as model:
        assert sum(len(module._forward_pre_hooks) for module in model.modules()) == 0


def test_a_job_runs_under_all_options_and_leaves_torch_as_it_was(folder: Path, tmp_path: Path) -> None:
    """On the CPU no switch has an effect; here they are turned on all the same."""
    matmul = torch.backends.cuda.matmul
    asked = {"task": "text_to_video", "model": "tiny_t2v", "prompt": "a ball", "seed": 1, "num_frames": 5}
    chosen = {"models_dir": str(folder), "fuse_qkv_projections": True, "rms_norm_function": "fast"}
    options = read_options({**chosen, "force_contiguous_tensors": True, "base_precision": "fp16_fast"})
    (plan,) = prepare(read_request(asked), options, tmp_path / "a.mp4")
    seen: list[tuple[bool, bool]] = []

    def watch(event: ProgressEvent) -> None:
        if event.stage != "join":
            seen.append((matmul.allow_tf32, matmul.allow_fp16_accumulation))

    plan = replace(plan, switches=TorchSwitches(fp16_accumulation=True, tf32=True))
    done = generate(plan, ModelCache(), watch)
    assert done.output.exists() and seen[-1] == (True, True)
    assert (matmul.allow_tf32, matmul.allow_fp16_accumulation) == (False, False)

    def stop(event: ProgressEvent) -> None:
        if event.step:
            raise Cancelled

    with pytest.raises(Cancelled):
        generate(plan, ModelCache(), stop)
    assert (matmul.allow_tf32, matmul.allow_fp16_accumulation) == (False, False)
