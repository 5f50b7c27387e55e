"""What only a card can show of LoRAs: branches beside its own products, under the compiler that jobs use."""

from pathlib import Path

import pytest
import torch

from tests.checkpoint.lora_files import STYLES, load, make_changes, spelled, talk_facts, use, wear, write_lora
from tests.models.test_projections import run
from tests.quantization.weights import relative_error
from wanvideo.checkpoint.keys import to_official
from wanvideo.checkpoint.lora_model import set_lora_step
from wanvideo.registry import quantization_modes

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

MODES = quantization_modes()
SAME = 2e-2  # relative error of bf16 outputs of a whole model, fused otherwise


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("joins", [False, True])
def test_a_compiled_model_wears_a_lora_of_changing_strength(tmp_path: Path, mode: str, joins: bool) -> None:
    if MODES[mode].fallback is not None and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("no FP8 tensor cores")
    facts = talk_facts(tmp_path / "models")
    changes = make_changes(to_official("transformer", load(facts).state_dict()))
    lora = use(write_lora(tmp_path / "a.safetensors", spelled(changes, STYLES["comfy"])), facts, (1.0, 0.3))
    model, plain = (load(facts, mode, torch.bfloat16).cuda() for _ in range(2))
    bare = run(plain)
    for one in (model, plain):
        if joins:
            one.join_projections()
        wear(one, lora)
    torch._dynamo.reset()
    for block in model.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True)
    for step in (0, 1):
        set_lora_step(model, step)
        set_lora_step(plain, step)
        assert relative_error(run(model), run(plain)) < SAME < relative_error(run(plain), bare)
    wear(plain)
    assert joins or torch.equal(run(plain), bare)
