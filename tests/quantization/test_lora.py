"""LoRA branches beside a weight of every format, dense ones too."""

import pytest
import torch
from torch import Tensor

from tests.quantization.weights import activations, all_linears, random_weight
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.stored import StoredWeight

IN, OUT, RANK = 256, 64, 4


def layers() -> dict[str, QLinear]:
    dense = StoredWeight(format="dense", tensors={"weight": random_weight(OUT, IN)}, shape=(OUT, IN))
    found = {name: layer for name, layer in all_linears().items() if isinstance(layer, QLinear)}
    return {"dense": QLinear(dense, None, torch.bfloat16), **found}


def pair(seed: int) -> tuple[Tensor, Tensor]:
    down = torch.randn(RANK, IN, generator=torch.Generator().manual_seed(seed)) * 0.1
    up = torch.randn(OUT, RANK, generator=torch.Generator().manual_seed(seed + 100)) * 0.1
    return down, up


@pytest.mark.parametrize("name", layers())
def test_branches_add_the_dense_product(name: str) -> None:
    layer, rows = layers()[name].float(), activations(2, 5, IN, dtype=torch.float32)
    plain = layer(rows)
    expected = plain.clone()
    for seed, strength in ((1, 0.75), (2, -2.0)):
        down, up = pair(seed)
        layer.add_lora(f"lora.{seed}", down, up, strength)
        expected += strength * rows @ (up @ down).T
    torch.testing.assert_close(layer(rows), expected, rtol=1e-4, atol=1e-4)

    layer.set_lora_strength("lora.1", 0.0)
    layer.remove_lora("lora.2")
    torch.testing.assert_close(layer(rows), plain, rtol=1e-5, atol=1e-5)
    layer.remove_lora("lora.1")
    assert torch.equal(layer(rows), plain)


@pytest.mark.parametrize("name", layers())
def test_branches_run_in_the_compute_dtype_and_are_no_part_of_the_weight(name: str) -> None:
    layer = layers()[name]
    before = {n: t.clone().view(torch.uint8) for n, t in layer.stored().tensors.items() if t.ndim}
    layer.add_lora("style", *pair(1), 1.0)
    assert {layer.branches[0].down.dtype, layer.branches[0].up.dtype} == {torch.bfloat16}
    assert layer(activations(3, IN)).dtype == torch.bfloat16
    stored = layer.stored().tensors
    assert not any("style" in n or "branch" in n for n in stored)
    assert all(torch.equal(stored[n].view(torch.uint8), t) for n, t in before.items())
    assert layer.half()(activations(3, IN, dtype=torch.float16)).dtype == torch.float16


def test_what_does_not_fit_is_refused() -> None:
    layer = layers()["dense"]
    down, up = pair(1)
    layer.add_lora("a", down, up, 1.0)
    with pytest.raises(ValueError, match="there is a LoRA a already"):
        layer.add_lora("a", down, up, 1.0)
    with pytest.raises(ValueError, match="LoRA b: up"):
        layer.add_lora("b", down[:, 1:], up, 1.0)
    with pytest.raises(ValueError, match="LoRA b: up"):
        layer.add_lora("b", down, up[:, 1:], 1.0)
    with pytest.raises(KeyError):
        layer.remove_lora("b")
    with pytest.raises(KeyError):
        layer.set_lora_strength("b", 1.0)
