"""The check of memory layout: silent on a sound model, loud on a fault, gone afterwards."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.attention.fake_packages import CASES, NO_KERNEL, installed, place
from tests.models.test_projections import folder as folder
from tests.models.test_projections import run, talk_model
from tests.models.test_transformer import SMALL
from wanvideo.attention.sdpa import attend
from wanvideo.models.contiguity import ContiguityError, contiguity_checked
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.linear import QLinear
from wanvideo.registry import attention_backends, quantization_modes


@pytest.mark.parametrize("mode", quantization_modes())
@pytest.mark.parametrize("is_joined", [False, True], ids=["apart", "joined"])
def test_a_sound_model_passes_unchanged(folder: Path, mode: str, is_joined: bool) -> None:
    model = talk_model(folder, mode)
    if is_joined:
        model.join_projections()
    expected, before = run(model), hooks(model)
    with contiguity_checked(model):
        assert hooks(model) > before
        assert torch.equal(run(model), expected)
    assert hooks(model) == before


@pytest.mark.parametrize("name", CASES)
def test_every_kernel_gets_what_it_can_read(folder: Path, name: str, tmp_path: Path) -> None:
    """Also from views of one joined projection; afterwards the blocks have their own functions again."""
    model, case = talk_model(folder, "disabled"), CASES[name]
    model.join_projections()
    with installed(tmp_path, NO_KERNEL, case.fake):
        load = attention_backends()[case.backend].load
        model.set_attention(load, place(step=1, steps=9))
        own = [block.attention for block in model.blocks]
        expected = run(model)
        with contiguity_checked(model):
            assert torch.equal(run(model), expected)
            assert all(block.attention not in own for block in model.blocks)
        assert [block.attention for block in model.blocks] == own


def hooks(model: WanTransformer) -> int:
    return sum(len(module._forward_pre_hooks) for module in model.modules())


def strided(tensor: Tensor) -> Tensor:
    """The same values with a gap after each element of the last dimension."""
    return torch.stack([tensor, tensor], dim=-1)[..., 0]


def shifted(tensor: Tensor) -> Tensor:
    """The same values, contiguous, two bytes beside a multiple of 16."""
    room = torch.empty(tensor.numel() + 1, dtype=tensor.dtype)
    return room[1:].view(tensor.shape).copy_(tensor)


def spoil_input(model: WanTransformer, change: Any) -> None:
    model.blocks[1].ffn.net[0].proj.register_forward_pre_hook(lambda _, given: (change(given[0]),))


def spoil_query(model: WanTransformer, change: Any) -> None:
    own = model.blocks[1].attention
    model.blocks[1].attention = lambda q, k, v: own(change(q), k, v)


def spoil_weight(model: WanTransformer, change: Any) -> None:
    linear = model.blocks[1].ffn.net[2]
    assert isinstance(linear, QLinear)
    payload = linear.get_parameter("qweight")
    payload.data = change(payload.data.view(torch.uint8)).view(payload.dtype)


@pytest.mark.parametrize(
    ("spoil", "change", "words"),
    [
        (spoil_input, strided, "blocks.1.ffn.net.0.proj: input of shape (1, 48, 256) lies badly in memory"),
        (spoil_input, shifted, "blocks.1.ffn.net.0.proj: input of shape (1, 48, 256) lies badly in memory"),
        (spoil_weight, shifted, "blocks.1.ffn.net.2: weight of shape (256, 64) lies badly in memory"),
        (spoil_query, strided, "blocks.1: attention query of shape (1, 2, 48, 128) lies badly in memory"),
        (spoil_query, shifted, "blocks.1: attention query of shape (1, 2, 48, 128) lies badly in memory"),
    ],
)
def test_a_fault_is_named_and_leaves_nothing_behind(
    folder: Path, spoil: Any, change: Any, words: str
) -> None:
    model = talk_model(folder, "fp8_e4m3fn_scaled")
    spoil(model, change)
    expected, before = run(model), hooks(model)
    with pytest.raises(ContiguityError) as fault, contiguity_checked(model):
        run(model)
    told = str(fault.value)
    assert told.startswith(words) and "strides (" in told and "address 0x" in told
    assert hooks(model) == before and torch.equal(run(model), expected)


def test_what_a_kernel_wants_in_one_piece_is_checked_as_it_gets_it(folder: Path, tmp_path: Path) -> None:
    """With the copy taken out that the kernel's wrapper makes."""
    case = CASES["flash_attn_2"]
    model = talk_model(folder, "disabled")
    model.join_projections()
    with installed(tmp_path, case.fake), pytest.MonkeyPatch.context() as patch:
        model.set_attention(attention_backends()[case.backend].load, place())
        patch.setattr("wanvideo.attention.kernel._prepare", lambda _, states, *__, **___: strided(states))
        with pytest.raises(ContiguityError, match="blocks.0: attention query of"), contiguity_checked(model):
            run(model)


def test_sizes_of_one_may_have_any_stride() -> None:
    query = torch.randn(1, 1, 1, 2)[..., :1].expand(1, 1, 1, 1).as_strided((1, 1, 1, 1), (1, 3, 5, 7))
    with contiguity_checked(WanTransformer(**{**SMALL, "num_layers": 0}, in_channels=16)):
        attend(query, query, query)
