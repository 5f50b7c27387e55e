"""Joined projections in a whole model: the same video, in every quantization mode."""

import copy
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.quantization.weights import relative_error
from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_transformer
from wanvideo.models.passes import AudioContext
from wanvideo.models.projections import GROUPS
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.joined import LinearPart
from wanvideo.quantization.linear import QLinear
from wanvideo.registry import quantization_modes

MODES = quantization_modes()
BLOCKS = 2
ROUNDED = 2e-2  # of a whole bf16 model, where an fp8 product is scaled by rows instead of once


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


def talk_model(folder: Path, mode: str, dtype: torch.dtype = torch.bfloat16) -> WanTransformer:
    names = ("tiny_i2v.safetensors", "tiny_infinitetalk.safetensors")
    facts = [inspect_checkpoint(folder / name) for name in names]
    return load_transformer(*facts, dtype=dtype, mode=MODES[mode]).eval()


@torch.no_grad()
def run(model: WanTransformer) -> Tensor:
    """One pass of a talk with two speakers."""
    generator = torch.Generator().manual_seed(4)
    masks = torch.zeros(3, 16)
    masks[0, :6], masks[1, 10:], masks[2, 6:10] = 1, 1, 1
    device = model.patch_embedding.weight.device

    def random(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).to(device)

    context = model.embed_context(random(1, 7, 64), random(1, 257, 80))
    audio = AudioContext(model.embed_audio(random(1, 2, 9, 5, 2, 64)), SpeakerRegions(masks.to(device)))
    timestep = torch.tensor([500.0], device=device)
    return model(random(1, 36, 3, 8, 8), timestep, context, audio=audio)


@pytest.mark.parametrize("mode", MODES)
def test_joined_model_gives_the_same_output(folder: Path, mode: str) -> None:
    model = talk_model(folder, mode)
    expected, size = run(model), sum(p.numel() * p.element_size() for p in model.parameters())
    assert model.join_projections() == {}
    joined = run(model)
    # The scale of a tensor becomes one of rows after a product in low precision; else nothing changes.
    rounds_anew = "fast" in mode and ("scaled" not in mode or mode.startswith("fp4"))
    error = relative_error(joined, expected)
    assert error < (ROUNDED if rounds_anew else 1e-9)
    grown = sum(p.numel() * p.element_size() for p in model.parameters()) - size
    scales = BLOCKS * (3 + 2) * 256 * 4  # one for each row, where they were one for a tensor
    assert grown <= (0 if "scaled" in mode and not mode.startswith("fp4") else scales)


def test_parts_keep_their_names_and_nothing_else(folder: Path) -> None:
    model = talk_model(folder, "fp8_e4m3fn_scaled")
    assert model.join_projections() == {}
    for index in range(BLOCKS):
        for place, names in GROUPS.items():
            attention = model.get_submodule(f"blocks.{index}.{place}")
            assert isinstance(attention.get_submodule("joined"), QLinear)
            for name in names:
                part = attention.get_submodule(name)
                assert isinstance(part, LinearPart) and not list(part.parameters())
    assert isinstance(model.get_submodule("blocks.0.attn2.to_q"), QLinear)
    before = model.state_dict()
    assert model.join_projections() == {} and model.state_dict().keys() == before.keys()


@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled", "fp4_scaled"])
def test_lora_is_added_by_the_name_of_the_part(folder: Path, mode: str) -> None:
    """Beside plain quantized linears and beside joined ones it is the same LoRA."""
    model = talk_model(folder, mode)
    twin = copy.deepcopy(model)
    twin.join_projections()
    plain = run(twin)
    generator = torch.Generator().manual_seed(1)
    for name in ("blocks.0.attn1.to_v", "blocks.1.attn2.to_k"):
        down, up = torch.randn(4, 256, generator=generator), torch.randn(256, 4, generator=generator) * 0.05
        for one in (model, twin):
            site = one.get_submodule(name)
            if isinstance(site, (QLinear, LinearPart)):
                site.add_lora("style", down, up, 0.7)
            else:  # dense: merged
                site.weight.data += 0.7 * (up @ down).to(site.weight)  # type: ignore[operator]
    changed = run(twin)
    assert relative_error(changed, plain) > 3 * relative_error(changed, run(model))
    for name in ("blocks.0.attn1.to_v", "blocks.1.attn2.to_k"):
        part = twin.get_submodule(name)
        assert isinstance(part, LinearPart)
        part.remove_lora("style")
    assert torch.equal(run(twin), plain)


def test_joined_model_can_be_copied_moved_cast_and_compiled(folder: Path) -> None:
    model = talk_model(folder, "fp8_e4m3fn_scaled", torch.float32)
    model.join_projections()
    expected, twin = run(model), copy.deepcopy(model)
    for block in model.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(model), expected, rtol=1e-3, atol=1e-3)
    for parameter in model.parameters():
        parameter.data.zero_()
    torch.testing.assert_close(run(twin), expected, rtol=1e-4, atol=1e-4)
    assert twin.blocks[0].attn1.joined.to(torch.float16).compute_dtype == torch.float16  # type: ignore[union-attr]
    assert twin.blocks[0].attn1.to("meta").joined.stored().tensors["weight"].is_meta  # type: ignore[union-attr]


def test_groups_that_differ_stay_as_they_are(folder: Path) -> None:
    model, other = talk_model(folder, "fp8_e4m3fn"), talk_model(folder, "fp8_e5m2")
    model.blocks[1].attn1.to_v = other.blocks[1].attn1.to_v
    expected = run(model)
    assert model.join_projections() == {"they are stored in different formats": 1}
    assert model.blocks[1].attn1.joined is None and isinstance(model.blocks[1].attn1.to_k, QLinear)
    assert isinstance(model.blocks[0].attn1.joined, QLinear)
    assert torch.equal(run(model), expected)
