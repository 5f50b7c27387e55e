"""Compiled blocks on a card: every mode, resident and swapped, within rounding of the blocks themselves."""

from pathlib import Path

import pytest
import torch
import torch._dynamo.utils

from tests.models.test_projections import run, talk_model
from tests.quantization.weights import relative_error
from tests.tiny_models import write_tiny_models
from wanvideo.compiled_blocks import compiled_blocks
from wanvideo.hardware import probe_hardware
from wanvideo.memory_plan import SwapPlan
from wanvideo.placement.residence import Residence
from wanvideo.proof.prove import prove_compiled
from wanvideo.registry import quantization_modes

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

MODES = quantization_modes()
SAME = 3e-2  # of a whole bf16 model whose sums run in another order
PINNED = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


def needs(mode: str) -> None:
    reason = MODES[mode].unavailable_reason(probe_hardware())
    if reason is not None:
        pytest.skip(reason)


@pytest.mark.parametrize("chunk", [0, 16])
@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_compiled_blocks_are_those_blocks_within_rounding(folder: Path, mode: str, chunk: int) -> None:
    """One graph while nothing is chunked; swapping half of the blocks changes no bit and compiles nothing."""
    needs(mode)
    torch.compiler.reset()
    torch._dynamo.utils.counters.clear()
    model = talk_model(folder, mode).cuda()
    expected = run(model)
    model.set_chunks(chunk)
    residence = Residence(model, "cuda", blocks=list(model.blocks))
    with compiled_blocks(model.blocks, lambda _: None, falls_back=False):
        found = run(model)
        graphs = torch._dynamo.utils.counters["stats"]["unique_graphs"]
        with residence.running(SwapPlan(blocks=len(model.blocks) // 2, slots=1, pinned_bytes=PINNED)):
            assert torch.equal(run(model), found)
        assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs
    assert relative_error(found, expected) < SAME
    assert chunk or graphs == 1


@pytest.mark.parametrize("mode", MODES)
def test_trial_says_what_this_card_compiles(mode: str) -> None:
    """Whatever it says, there is an answer; below sm 8.9 Triton may refuse e4m3. Each trial is a process of
    its own, and the second one finds the code of the first on disk.
    """
    needs(mode)
    for _ in range(2):
        proof = prove_compiled(mode, probe_hardware(), again=True)
        assert proof.usable or proof.reason
        if torch.cuda.get_device_capability() >= (8, 9):
            assert proof.usable, proof.reason
            assert proof.exact_error is not None and proof.exact_error < 0.2
