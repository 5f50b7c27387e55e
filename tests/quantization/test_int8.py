"""INT8 weights with scales: the value of each element, one rounding, every form of the scale."""

import pytest
import torch

from tests.quantization.weights import activations, int8_weight
from wanvideo.quantization import int8
from wanvideo.quantization.joined import join_linears, why_apart
from wanvideo.quantization.linear import make_linear
from wanvideo.quantization.stored import StoredWeight


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("form", [(6, 1), (6,), (1,), ()])
def test_an_element_is_its_integer_times_its_scale(form: tuple[int, ...], dtype: torch.dtype) -> None:
    made = int8_weight(6, 32)
    payload = made.tensors["weight"]
    payload[0, :2] = torch.tensor([-128, 127])
    scale = made.tensors["weight_scale"][: 6 if 6 in form else 1].reshape(form)
    tensors = {"weight": payload.clone(), "weight_scale": scale}
    found = int8.dequantize(StoredWeight(format="int8", tensors=tensors, shape=(6, 32)), dtype)
    exact = payload.double() * scale.double().reshape(-1, 1)
    assert torch.equal(found, exact.float().to(dtype)) and found.abs().max() > 0
    assert torch.equal(tensors["weight"], payload)


def test_joined_linears_keep_their_scales() -> None:
    parts = [int8_weight(rows, 32, seed) for seed, rows in enumerate((48, 16))]
    parts[1].tensors["weight_scale"] = parts[1].tensors["weight_scale"][:1]  # one for the tensor
    linears = [make_linear(part, None, torch.bfloat16) for part in parts]
    rows = activations(3, 32)
    assert why_apart(linears) is None
    assert torch.equal(join_linears(linears)(rows), torch.cat([linear(rows) for linear in linears], dim=1))
