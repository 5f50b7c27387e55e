"""Linears joined into one: the same weights bit by bit, the same outputs, LoRA branches by part."""

import copy
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from tests.quantization.weights import activations, gguf_weight, random_weight, relative_error
from wanvideo.quantization import fp8, nvfp4
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.joined import LinearPart, join_linears, split_product, why_apart
from wanvideo.quantization.linear import QLinear, make_linear
from wanvideo.quantization.matmul import scaled_nvfp4
from wanvideo.quantization.stored import StoredWeight
from wanvideo.registry import quantization_modes

IN = 256
ROWS = (192, 64, 96)  # of the parts; two are no multiple of the 128 rows of a tile of NVFP4's scales
Make: TypeAlias = Callable[[int, int], nn.Linear]
# Rounding of bf16 once more: a scale for each row multiplies after the one for each token.
ROUNDED = 4e-3


def weight(part: int, rows: int) -> Tensor:
    """Parts of different sizes, so that a scale in the wrong place shows."""
    return random_weight(rows, IN, seed=part).bfloat16() * (1 + part)


def of_mode(name: str) -> Make:
    mode = quantization_modes()[name]

    def make(part: int, rows: int) -> nn.Linear:
        dense = StoredWeight(format="dense", tensors={"weight": weight(part, rows)}, shape=(rows, IN))
        stored = mode.store(weight(part, rows)) if mode.store else dense
        return mode.make_linear(stored, activations(rows, seed=part), torch.bfloat16)

    return make


def of_file(stored: Callable[[int, int], StoredWeight], fast: bool = False) -> Make:
    return lambda part, rows: make_linear(
        stored(part, rows), activations(rows, seed=part), torch.bfloat16, fast=fast
    )


def bare(part: int, rows: int) -> StoredWeight:
    payload = (weight(part, rows) * 20).to(torch.float8_e4m3fn)
    return StoredWeight(format="e4m3", tensors={"weight": payload}, shape=(rows, IN))


def mixed(part: int, rows: int) -> StoredWeight:
    """One without a scale, one with a scale for the tensor, one with scales for rows."""
    return bare(part, rows) if part == 0 else fp8.quantize(weight(part, rows), "e4m3", per_row=part == 1)


def still(part: int, rows: int) -> StoredWeight:
    stored = fp8.quantize(weight(part, rows), "e4m3", per_row=True)
    stored.tensors["input_scale"] = torch.tensor(4.0 / 448)
    return stored


def gguf_of(kind: str, part: int, rows: int) -> StoredWeight:
    return gguf_weight(kind, rows, IN, seed=part)


MAKERS: dict[str, Make] = {
    **{name: of_mode(name) for name in quantization_modes()},
    "no scales": of_file(bare),
    "no scales, fast": of_file(bare, fast=True),
    "all kinds of scales": of_file(mixed),
    "all kinds of scales, fast": of_file(mixed, fast=True),
    "input scale, fast": of_file(still, fast=True),
    "gguf": of_file(partial(gguf_of, "Q4_K")),
}


def linears(name: str) -> list[nn.Linear]:
    return [MAKERS[name](part, rows) for part, rows in enumerate(ROWS)]


def parts_of(separate: list[nn.Linear]) -> list[LinearPart]:
    return [LinearPart(linear) for linear in separate]


def is_exact(name: str) -> bool:
    """Whether joining leaves the arithmetic as it is: after a product in low precision no scale of a tensor
    becomes one of rows.
    """
    separate = linears(name)
    scale = "weight_scale_2" if separate[0].__dict__.get("format") == "nvfp4" else "weight_scale"
    scales = [linear.stored().tensors.get(scale) for linear in separate if isinstance(linear, QLinear)]
    return "fast" not in name or all(found is None or found.numel() > 1 for found in scales)


@pytest.mark.parametrize("name", MAKERS)
@torch.no_grad()
def test_outputs_are_those_of_the_parts(name: str) -> None:
    separate = linears(name)
    assert why_apart(separate) is None
    joined, x = join_linears(separate), activations(2, 5, IN)
    before = x.clone()
    outputs = split_product(joined(x), parts_of(separate), x)
    assert torch.equal(x, before)
    for linear, output in zip(separate, outputs, strict=True):
        expected = linear(x)
        assert output.shape == expected.shape and output.dtype == expected.dtype
        assert relative_error(output, expected) < (1e-9 if is_exact(name) else ROUNDED)
    if not is_exact(name):
        assert any(not torch.equal(linear(x), out) for linear, out in zip(separate, outputs, strict=True))


@pytest.mark.parametrize("name", MAKERS)
def test_weights_are_kept_bit_by_bit_and_once(name: str) -> None:
    separate = linears(name)
    joined = join_linears(separate)
    assert (joined.in_features, joined.out_features) == (IN, sum(ROWS))
    if not isinstance(joined, QLinear):
        assert torch.equal(joined.weight, torch.cat([linear.weight for linear in separate]))
        return
    for dtype in (torch.float32, torch.bfloat16):
        dense = [FORMATS[lin.format].dequantize(lin.stored(), dtype) for lin in separate]  # type: ignore[union-attr,index]
        assert torch.equal(FORMATS[joined.format].dequantize(joined.stored(), dtype), torch.cat(dense))
    kept = sum(tensor.numel() * tensor.element_size() for tensor in joined.parameters())
    apart = sum(t.numel() * t.element_size() for linear in separate for t in linear.parameters())
    assert kept <= apart + 4 * sum(ROWS)  # at most a scale for each row more
    assert joined.multiply is separate[0].multiply  # type: ignore[comparison-overlap]


@pytest.mark.parametrize("name", MAKERS)
@torch.no_grad()
def test_lora_branches_come_and_go_by_part(name: str) -> None:
    separate = linears(name)
    joined, parts, x = join_linears(separate), parts_of(separate), activations(2, 3, IN)
    plain = split_product(joined(x), parts, x)
    down, up = activations(4, IN, seed=7), activations(ROWS[1], 4, seed=8) * 0.1
    parts[1].add_lora("style", down, up, 0.5)
    changed = split_product(joined(x), parts, x)
    assert torch.equal(changed[0], plain[0]) and torch.equal(changed[2], plain[2])
    effect = 0.5 * x.double() @ down.double().T @ up.double().T
    assert relative_error(changed[1], plain[1].double() + effect) < 1e-2
    assert relative_error(changed[1], plain[1]) > 0.05
    parts[1].set_lora_strength("style", 0.0)
    assert torch.equal(split_product(joined(x), parts, x)[1], plain[1])
    parts[1].remove_lora("style")
    assert not list(parts[1].parameters())
    with pytest.raises(ValueError, match="LoRA wide: up"):
        parts[0].add_lora("wide", down, up, 1.0)


@torch.no_grad()
def test_branches_that_stood_there_before_go_on() -> None:
    separate = linears("fp4_scaled")
    x = activations(3, IN)
    assert isinstance(separate[2], QLinear)
    separate[2].add_lora("style", activations(4, IN, seed=7), activations(ROWS[2], 4, seed=8), 0.1)
    outputs = split_product(join_linears(separate)(x), parts_of(separate), x)
    assert all(torch.equal(linear(x), out) for linear, out in zip(separate, outputs, strict=True))


class Joined(nn.Module):
    """What a block does with a joined linear, as one module."""

    def __init__(self, separate: list[nn.Linear]) -> None:
        super().__init__()
        self.joined = join_linears(separate)
        self.parts = nn.ModuleList(parts_of(separate))

    def forward(self, x: Tensor) -> list[Tensor]:
        return split_product(self.joined(x), list(self.parts), x)  # type: ignore[arg-type]


def with_lora(name: str) -> Joined:
    module = Joined(linears(name))
    part = module.parts[2]
    assert isinstance(part, LinearPart)
    part.add_lora("style", activations(4, IN, seed=7) * 0.1, activations(ROWS[2], 4, seed=8) * 0.1, 0.5)
    return module


@pytest.mark.parametrize("name", MAKERS)
@torch.no_grad()
def test_it_can_be_copied_cast_and_moved(name: str) -> None:
    module, x = with_lora(name), activations(2, 3, IN)
    expected = module(x)
    twin = copy.deepcopy(module)
    half = module.to(torch.float16)(x.half())
    assert all(output.dtype == torch.float16 for output in half)
    assert all(relative_error(out, exp) < 2e-2 for out, exp in zip(half, expected, strict=True))
    for tensor in module.parameters():
        tensor.data.zero_()
    assert all(torch.equal(out, exp) for out, exp in zip(twin(x), expected, strict=True))
    assert all(parameter.is_meta for parameter in twin.to("meta").parameters())


@pytest.mark.parametrize("name", ["disabled", "fp8_e4m3fn", "fp8_e5m2_fast", "fp4_scaled", "fp4_scaled_fast"])
@torch.no_grad()
def test_it_compiles_into_one_graph(name: str) -> None:
    """One of each way to multiply."""
    torch.compiler.reset()
    module, x = with_lora(name), activations(2, 3, IN)
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")(x)
    for found, output in zip(compiled, module(x), strict=True):
        torch.testing.assert_close(found, output, rtol=1e-2, atol=1e-2)


def other_bias(linear: nn.Linear) -> nn.Linear:
    assert isinstance(linear, QLinear)
    return QLinear(linear.stored(), None, torch.bfloat16, linear.multiply)


def other_input_scale(part: int, rows: int) -> StoredWeight:
    stored = still(part, rows)
    stored.tensors["input_scale"] = stored.tensors["input_scale"] * (1 + part)
    return stored


def on_fp4_cores(part: int, rows: int) -> StoredWeight:
    return nvfp4.quantize(weight(part, rows), tensor_scale=part > 9)


APART: dict[str, tuple[Callable[[], list[nn.Linear]], str]] = {
    "formats": (lambda: [*linears("fp8_e4m3fn")[:2], *linears("fp8_e5m2")[2:]], "different formats"),
    "dense beside 8 bits": (
        lambda: [*linears("disabled")[:2], *linears("fp8_e5m2")[2:]],
        "different formats",
    ),
    "types of GGUF": (
        lambda: [of_file(partial(gguf_of, kind))(0, 64) for kind in ("Q4_K", "Q6_K")],
        "different formats",
    ),
    "ways": (
        lambda: [*linears("fp8_e4m3fn")[:2], *linears("fp8_e4m3fn_fast")[2:]],
        "multiplied in different ways",
    ),
    "bias": (lambda: [*linears("fp8_e5m2")[:2], other_bias(linears("fp8_e5m2")[2])], "have a bias"),
    "input scales": (
        lambda: [of_file(other_input_scale, fast=True)(part, 64) for part in range(3)],
        "their input different scales",
    ),
    "one input scale": (
        lambda: [of_file(still, fast=True)(0, 64), MAKERS["fp8_e4m3fn_scaled_fast"](1, 64)],
        "their input different scales",
    ),
    "tensor scales on FP4 cores": (
        lambda: [
            QLinear(nvfp4.quantize(weight(part, 64)), None, torch.bfloat16, scaled_nvfp4) for part in range(3)
        ],
        "FP4 tensor cores take one",
    ),
}


@pytest.mark.parametrize("name", APART)
def test_what_would_change_the_result_stays_apart(name: str) -> None:
    make, words = APART[name]
    reason = why_apart(make())
    assert reason is not None and words in reason


def test_one_tensor_scale_for_all_can_go_to_fp4_cores() -> None:
    stored = [on_fp4_cores(part, rows) for part, rows in enumerate(ROWS)]
    separate = [QLinear(weight, None, torch.bfloat16, scaled_nvfp4) for weight in stored]
    assert why_apart(separate) is None
    joined = join_linears(separate)
    assert isinstance(joined, QLinear) and joined.stored().tensors["weight_scale_2"].numel() == 1
