"""The kernels over rows, run by Triton's interpreter on a CPU, give what the plain functions give; and they
are used where code is compiled for a card, and nowhere else.
"""

import importlib
import os
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.conftest import INTERPRETED
from tests.quantization.weights import relative_error
from wanvideo.models import feed_forward, in_one_pass, norm_modulation, norm_rotation
from wanvideo.models.feed_forward import TanhGelu, WanFeedForward, gelu_by_sigmoid
from wanvideo.models.in_one_pass import product_of_rows
from wanvideo.models.norm_modulation import norm_modulate
from wanvideo.models.norm_rotation import norm_rotate
from wanvideo.models.precision import FP32LayerNorm
from wanvideo.models.projections import GROUPS, project_normed, project_out
from wanvideo.models.rms_norm import fused, in_fp32
from wanvideo.models.rotary import Rotary, video_rotary
from wanvideo.quantization import fp8
from wanvideo.quantization.joined import LinearPart, join_linears
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.matmul import dequantized, scaled_fp8

HEAD_DIM, HEADS, GRID = 16, 3, (2, 3, 2)
ROWS, DIM = 12, HEADS * HEAD_DIM
PLACES = (feed_forward, in_one_pass, norm_modulation, norm_rotation)
KERNELS = tuple(
    f"wanvideo.kernels.{name}" for name in ("fp8_store", "norm_modulation", "norm_rotation", "rows_to_fp8")
)
# The interpreter cuts fp32 off where a card rounds it to bf16. What it casts to e4m3 is wrong now and then,
# so here the kernel gives what it would cast.
ULP = {torch.float32: 1e-6, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-7}


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> dict[str, ModuleType]:
    """The modules of the kernels, which run on this CPU."""
    pytest.importorskip("triton", reason="Triton is not installed")
    if os.environ.get(INTERPRETED) != "1":
        pytest.skip("here the kernels run on a card: tests/test_gpu_compile.py")
    modules = {name.rpartition(".")[2]: importlib.import_module(name) for name in KERNELS}
    monkeypatch.setattr(modules["fp8_store"], "VALUES", torch.float32)
    return modules


@pytest.fixture
def on_card(monkeypatch: pytest.MonkeyPatch, interpreted: dict[str, ModuleType]) -> None:  # noqa: ARG001
    """As if the calling code was being compiled for a card."""
    for place in PLACES:
        monkeypatch.setattr(place, "compiled_for_card", lambda _: True)


def noise(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).to(dtype)


def norm(dtype: torch.dtype) -> nn.RMSNorm:
    layer = nn.RMSNorm(DIM, eps=1e-6)
    nn.init.normal_(layer.weight, mean=1.0, std=0.3, generator=torch.Generator().manual_seed(1))
    return layer.to(dtype).requires_grad_(False)


def fp8_linear(inside: int, outside: int, **more: Any) -> QLinear:
    stored = fp8.quantize(noise(outside, inside), "e4m3", per_row=True)
    return QLinear(stored, noise(outside), torch.bfloat16, more.pop("multiply", scaled_fp8))


@pytest.mark.parametrize("dtype", ULP)
@pytest.mark.parametrize("tables", [1, 2])
def test_norm_and_rotation(interpreted: dict[str, ModuleType], dtype: torch.dtype, tables: int) -> None:
    """Of a part of a joined product, too; one table for all, or one for each video of a batch."""
    table = video_rotary(GRID, HEAD_DIM, torch.device("cpu"))
    cos = torch.cat([table.cos * (1 + part) for part in range(tables)])
    rotary, layer = Rotary(cos, table.sin.expand(tables, -1, -1, -1)), norm(dtype)
    for states in (
        noise(2, ROWS, DIM, dtype=dtype),
        noise(2, ROWS, 3 * DIM, dtype=dtype)[..., DIM : 2 * DIM],
    ):
        exact = norm_rotate(in_fp32, norm(torch.float32), states.float(), rotary)
        kernel = interpreted["norm_rotation"].norm_rotated
        found = kernel(states, layer.weight, layer.eps, rotary.cos, rotary.sin)
        assert found.dtype == dtype and found.shape == (2, ROWS, HEADS, HEAD_DIM)
        assert relative_error(found.float(), exact) < 2 * ULP[dtype]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("gelu", [False, True])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the division by a row of zeros
def test_rows_to_fp8(interpreted: dict[str, ModuleType], dtype: torch.dtype, gelu: bool) -> None:
    """Rows of zeros, of tiny and of large numbers, and a number of channels that is no power of two."""
    rows = noise(6, 40, dtype=dtype) * 3
    rows[1], rows[2], rows[3] = 0, 1e-7, rows[3] * 1000
    expected, wanted = fp8.quantize_activations(gelu_by_sigmoid(rows) if gelu else rows)
    kernel = interpreted["rows_to_fp8"].rows_to_fp8
    values, scales = kernel(rows, fp8.most_inverse(dtype), gelu=gelu)
    assert scales.shape == (6, 1) and values.abs().max() <= 448
    torch.testing.assert_close(scales, wanted, rtol=2 * ULP[dtype], atol=0)
    if dtype == torch.float16:
        unlike = values.to(torch.float8_e4m3fn).float() != expected.float()
        assert unlike.float().mean() < 0.02  # the exponential is another one
    assert_near_in_fp8(values, scales, expected.float() * wanted)


def assert_near_in_fp8(values: Tensor, scales: Tensor, expected: Tensor) -> None:
    """Row by row, as near as a step of e4m3."""
    for found, right in zip(values.to(torch.float8_e4m3fn).float() * scales, expected, strict=True):
        assert (found - right).norm() <= 2.0**-4 * right.norm()


@pytest.mark.parametrize("dtype", ULP)
@pytest.mark.parametrize("tables", [1, 2])
def test_norm_and_modulation(interpreted: dict[str, ModuleType], dtype: torch.dtype, tables: int) -> None:
    """Of tokens with a mean; one scale and shift for all, or one for each video of a batch; also of a chunk,
    whose rows stand in a longer tensor; in fp8, too.
    """
    scale, shift = (noise(tables, 1, DIM) * 0.3 + place for place in range(2))
    layer = FP32LayerNorm(DIM, eps=1e-6, elementwise_affine=False)
    whole = (noise(2, ROWS + 5, DIM) * 3 + 1).to(dtype)
    for states in (whole, whole[:, 2 : ROWS + 2]):
        exact = norm_modulate(layer, states.float(), scale, shift)
        given = states, scale, shift, layer.eps
        found = interpreted["norm_modulation"].norm_modulated(*given)
        assert found.dtype == dtype and found.shape == states.shape
        assert relative_error(found.float(), exact) < 2 * ULP[dtype]
        most = fp8.most_inverse(dtype)
        values, scales = interpreted["norm_modulation"].norm_modulated_to_fp8(*given, most)
        assert scales.shape == (2 * states.shape[1], 1)
        _, wanted = fp8.quantize_activations(exact.to(dtype).flatten(0, 1))
        torch.testing.assert_close(scales, wanted, rtol=4 * ULP[dtype], atol=0)
        assert_near_in_fp8(values, scales, exact.flatten(0, 1))


@pytest.mark.usefixtures("on_card")
def test_compiled_for_a_card_the_default_norm_is_the_kernel_s(
    interpreted: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []
    own = interpreted["norm_rotation"].norm_rotated

    def watched(*given: Any) -> Tensor:
        called.append("kernel")
        turned: Tensor = own(*given)
        return turned

    monkeypatch.setattr(interpreted["norm_rotation"], "norm_rotated", watched)
    rotary, layer = video_rotary(GRID, HEAD_DIM, torch.device("cpu")), norm(torch.float32)
    states = noise(1, ROWS, DIM)
    default, torch_s = (norm_rotate(function, layer, states, rotary) for function in (in_fp32, fused))
    assert called == ["kernel"]
    torch.testing.assert_close(default, torch_s)


@pytest.mark.usefixtures("on_card")
def test_an_fp8_product_takes_gelu_and_attention_from_the_kernel(
    interpreted: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[bool] = []
    own = interpreted["rows_to_fp8"].rows_to_fp8

    def watched(rows: Tensor, most_inverse: float, *, gelu: bool) -> tuple[Tensor, Tensor]:
        called.append(gelu)
        values, scales = own(rows, most_inverse, gelu=gelu)
        return values.to(torch.float8_e4m3fn), scales

    monkeypatch.setattr(interpreted["rows_to_fp8"], "rows_to_fp8", watched)
    feed = feed_forward_of(fp8_linear(64, 32))
    hidden = noise(2, 5, 32, dtype=torch.bfloat16)
    found = feed(hidden)
    monkeypatch.setattr(feed_forward, "compiled_for_card", lambda _: False)
    assert called == [True]
    assert relative_error(found.float(), feed(hidden).float()) < 0.04
    out = fp8_linear(32, 32)
    assert relative_error(project_out(out, hidden).float(), out(hidden).float()) < 0.04
    assert called == [True, False]


@pytest.mark.usefixtures("on_card")
@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("joined", [False, True])
def test_normed_projections_come_from_the_kernel(
    interpreted: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, joined: bool, lora: bool
) -> None:
    """Once for all three, in fp8; for LoRA branches as they are."""
    called: list[str] = []
    module = interpreted["norm_modulation"]

    def watch(name: str) -> None:
        own = getattr(module, name)

        def watched(*given: Any) -> Any:
            called.append(name)
            made = own(*given)
            return (made[0].to(torch.float8_e4m3fn), made[1]) if isinstance(made, tuple) else made

        monkeypatch.setattr(module, name, watched)

    watch("norm_modulated")
    watch("norm_modulated_to_fp8")
    attention = attention_of([fp8_linear(DIM, DIM) for _ in range(3)], joined)
    if lora:
        attention.get_submodule("to_k").add_lora("a", noise(4, DIM), noise(DIM, 4), 1.0)
    layer = FP32LayerNorm(DIM, eps=1e-6, elementwise_affine=False)
    states = noise(1, ROWS, DIM, dtype=torch.bfloat16)
    modulation = noise(1, 1, DIM) * 0.3, noise(1, 1, DIM)
    found = project_normed(attention, "attn1", layer, states, modulation)
    for place in PLACES:
        monkeypatch.setattr(place, "compiled_for_card", lambda _: False)
    wanted = project_normed(attention, "attn1", layer, states, modulation)
    assert called == ["norm_modulated" if lora else "norm_modulated_to_fp8"]
    for one, other in zip(found, wanted, strict=True):
        assert relative_error(one.float(), other.float()) < 0.04


def attention_of(linears: list[nn.Linear], joined: bool) -> nn.Module:
    attention = nn.Module()
    attention.joined = join_linears(linears) if joined else None
    for name, linear in zip(GROUPS["attn1"], linears, strict=True):
        attention.add_module(name, LinearPart(linear) if joined else linear)
    return attention


def feed_forward_of(down: nn.Module) -> WanFeedForward:
    feed = WanFeedForward(32, inner_dim=64, activation_fn="gelu-approximate").to(torch.bfloat16)
    feed.net[0].__class__, feed.net[2] = TanhGelu, down
    return feed.eval().requires_grad_(False)


@pytest.mark.usefixtures("on_card")
def test_without_such_a_kernel_a_linear_runs_as_it_is() -> None:
    """One that is dequantized, one whose file gives its input a scale, one with a LoRA branch."""
    rows = noise(3, 32, dtype=torch.bfloat16)
    given, branched = fp8_linear(32, 32), fp8_linear(32, 32)
    given.register_parameter("input_scale", nn.Parameter(torch.tensor(0.01), requires_grad=False))
    given.names["input_scale"] = "input_scale"
    branched.add_lora("a", noise(4, 32), noise(32, 4), 1.0)
    for linear in (fp8_linear(32, 32, multiply=dequantized), given, branched):
        assert product_of_rows(linear, rows) is None
        assert torch.equal(project_out(linear, rows), linear(rows))
    feed, dense = feed_forward_of(fp8_linear(64, 32, multiply=dequantized)), noise(2, 5, 32)
    up, _, down = feed.net
    assert torch.equal(feed(dense.bfloat16()), down(up.gelu(up.proj(dense.bfloat16()))))


@pytest.mark.usefixtures("on_card")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_a_dense_product_applies_gelu_to_its_own_sums_in_16_bits(dtype: torch.dtype) -> None:
    layer = TanhGelu(32, 64, approximate="tanh").to(dtype).requires_grad_(False)
    states = noise(2, 5, 32, dtype=dtype)
    exact = nn.functional.gelu(
        nn.functional.linear(states.double(), layer.proj.weight.double(), layer.proj.bias.double()),
        approximate="tanh",
    )
    assert relative_error(layer(states).double(), exact) < 2.0**-8


def test_eager_code_and_other_machines_use_none(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KERNELS:
        monkeypatch.setitem(sys.modules, name, None)  # to import it is an error
    states = noise(1, ROWS, DIM)
    rotary = video_rotary(GRID, HEAD_DIM, torch.device("cpu"))
    norm_rotate(in_fp32, norm(torch.float32), states, rotary)
    half, modulation = states.bfloat16(), (noise(1, 1, DIM), noise(1, 1, DIM))
    attention = attention_of([fp8_linear(DIM, DIM) for _ in range(3)], joined=False)
    layer = FP32LayerNorm(DIM, eps=1e-6, elementwise_affine=False)
    project_normed(attention, "attn1", layer, half, modulation)
    project_out(fp8_linear(DIM, DIM), half)
    feed_forward_of(fp8_linear(64, 32))(noise(1, 3, 32, dtype=torch.bfloat16))
