"""The ways to norm queries and keys: equal but for rounding, and chosen without touching a weight."""

import pytest
import torch
from torch import nn

from tests.models.test_transformer import SMALL
from wanvideo.models.rms_norm import RMS_NORMS, fused, in_fp32
from wanvideo.models.transformer import WanTransformer

HALF_STEP = 2.0**-8  # of bf16: rounded once


def norm(dtype: torch.dtype) -> nn.RMSNorm:
    layer = nn.RMSNorm(256, eps=1e-6)
    nn.init.normal_(layer.weight, mean=1.0, std=0.3, generator=torch.Generator().manual_seed(1))
    return layer.to(dtype)


@pytest.mark.parametrize("name", RMS_NORMS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@torch.no_grad()
def test_each_is_the_formula_within_one_rounding(name: str, dtype: torch.dtype) -> None:
    layer = norm(dtype)
    states = (torch.randn(2, 5, 256, generator=torch.Generator().manual_seed(2)) * 30).to(dtype)
    states[0, 0] *= 300  # squares beyond the range of fp16
    exact = states.double() / (states.double().pow(2).mean(-1, keepdim=True) + 1e-6).sqrt()
    normed = RMS_NORMS[name](layer, states)
    assert normed.dtype == dtype
    limit = {torch.bfloat16: HALF_STEP, torch.float16: 2.0**-11, torch.float32: 1e-6}[dtype]
    torch.testing.assert_close(normed.double(), exact * layer.weight.double(), rtol=limit, atol=1e-7)


@torch.no_grad()
def test_default_is_the_layer_s_own_forward_to_the_last_bit() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        layer, states = norm(dtype), torch.randn(3, 256).to(dtype)
        assert torch.equal(in_fp32(layer, states), layer(states))


@torch.no_grad()
def test_the_model_runs_the_one_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    model = WanTransformer(**SMALL, in_channels=16).eval()
    called: list[str] = []
    for name, function in (("default", in_fp32), ("pytorch", fused)):

        def note(layer: nn.RMSNorm, states: torch.Tensor, name: str = name, run: object = function) -> object:
            called.append(name)
            return run(layer, states)  # type: ignore[operator]

        monkeypatch.setitem(RMS_NORMS, name, note)  # type: ignore[arg-type]
    context = model.embed_context(torch.randn(1, 5, 32))
    outputs = []
    for name in ("pytorch", "default", "pytorch"):
        called.clear()
        model.set_rms_norm(name)
        outputs.append(model(torch.ones(1, 16, 2, 4, 4), torch.tensor([500.0]), context))
        assert called == [name] * 4 * SMALL["num_layers"]  # type: ignore[operator]
    assert torch.equal(outputs[0], outputs[2])
