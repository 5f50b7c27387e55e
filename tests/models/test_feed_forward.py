"""The feed-forward's activation is torch's own in eager, and the same function where blocks are compiled."""

import pytest
import torch
from torch.nn.functional import gelu

from tests.counting_backend import CountingBackend
from wanvideo.models.feed_forward import TanhGelu, gelu_by_sigmoid


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_sigmoid_form_is_the_tanh_form(dtype: torch.dtype) -> None:
    values = torch.cat([torch.linspace(-12, 12, 4801), torch.tensor([-3e4, 0.0, 3e4])]).to(dtype)
    expected = gelu(values.double(), approximate="tanh")
    # A rounding of the dtype, relative to the value; far below zero both are 0 but for fp32's rounding.
    error = (gelu_by_sigmoid(values).double() - expected).abs()
    assert (error <= torch.finfo(dtype).eps * expected.abs() + 1e-6).all()


def test_compiled_it_is_the_sigmoid_form_and_else_torch_s() -> None:
    layer = TanhGelu(8, 16, approximate="tanh")
    states = torch.randn(5, 8)
    projected = layer.proj(states)
    backend = CountingBackend()
    assert torch.equal(layer(states), gelu(projected, approximate="tanh"))
    assert torch.equal(torch.compile(layer, backend=backend)(states), gelu_by_sigmoid(projected))
    called = [node.target for node in backend.graphs[0].graph.nodes]
    assert gelu not in called and torch.nn.functional.gelu not in called
