"""The emulated FP4 matmul against float64 and comfy-kitchen's bits."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.quantization.weights import activations, outlier_weight, random_weight, relative_error
from tools.emulation.w4a4 import multiply, multiply_for
from wanvideo.quantization import fp8, nvfp4
from wanvideo.quantization.matmul import choose_multiply, dequantized


@pytest.fixture
def kitchen() -> Any:
    return pytest.importorskip("comfy_kitchen", reason="comfy-kitchen is not installed")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("count", [1, 7, 200])
@pytest.mark.parametrize("make", [random_weight, outlier_weight])
def test_it_is_the_product_of_what_the_kernel_is_given(
    kitchen: Any, dtype: torch.dtype, count: int, make: Callable[[], Tensor]
) -> None:
    """comfy-kitchen's own codes, made dense, in float64; the kernel rounds its result to 16 bits."""
    stored, bias = nvfp4.quantize(make()), activations(768, dtype=dtype)
    rows = activations(count, 512, dtype=dtype)
    before = rows.clone()
    scale = nvfp4.tensor_scale_of(rows)
    packed, blocks = kitchen.quantize_nvfp4(rows, scale, pad_16x=True)
    dense = kitchen.dequantize_nvfp4(packed, scale, blocks, torch.float32)[:count]
    exact = dense.double() @ nvfp4.dequantize(stored, torch.float64).T
    made = multiply(rows, stored, None)
    step = 2.0**-10 if dtype == torch.float16 else 2.0**-8
    torch.testing.assert_close(made.double(), exact, rtol=step, atol=1e-5)
    assert made.dtype == dtype and torch.equal(rows, before)
    kernel_dtype = torch.float16 if dtype == torch.float16 else torch.bfloat16
    assert torch.equal(made, made.to(kernel_dtype).to(dtype))
    assert torch.equal(multiply(rows, stored, bias), made + bias)


@pytest.mark.parametrize(("outlier", "four", "both"), [(1.0, 0.095, 0.126), (5.6, 0.153, 0.209)])
def test_error_is_that_of_four_bits_on_both_sides(outlier: float, four: float, both: float) -> None:
    """Independent code measured `four` with 16-bit activations and `both` with 4-bit ones.

    Its outliers are not known: here channels of the weight and of the activations stand out side by side in a
    block, so far that `four` comes out.
    """
    weight, rows = random_weight(), activations(129, 512)
    if outlier > 1:
        weight[:, 5:8] *= outlier
        rows[:, :5] *= 10
    exact = rows.double() @ weight.double().T
    stored = nvfp4.quantize(weight)
    assert relative_error(dequantized(rows, stored, None), exact) == pytest.approx(four, rel=0.1)
    assert relative_error(multiply(rows, stored, None), exact) == pytest.approx(both, rel=0.1)


def test_the_files_own_scale_counts() -> None:
    stored, rows = nvfp4.quantize(random_weight()), activations(5, 512, dtype=torch.float32)
    dynamic = multiply(rows, stored, None)
    given = {
        factor: replace(
            stored, tensors={**stored.tensors, "input_scale": nvfp4.tensor_scale_of(rows) * factor}
        )
        for factor in (1, 1 / 64)
    }
    torch.testing.assert_close(multiply(rows, given[1], None), dynamic, rtol=0.02, atol=0.01)
    saturated = multiply(rows, given[1 / 64], None)
    assert saturated.isfinite().all() and relative_error(saturated, dynamic) > 0.5


def test_joined_layers_have_a_scale_for_each_row() -> None:
    stored, rows = nvfp4.quantize(random_weight()), activations(5, 512)
    factors = torch.arange(1.0, 769.0)[:, None]
    scales = stored.tensors["weight_scale_2"] * factors
    joined = replace(stored, tensors={**stored.tensors, "weight_scale_2": scales})
    wanted = multiply(rows, stored, None).double() * factors.T
    torch.testing.assert_close(multiply(rows, joined, None).double(), wanted, rtol=2**-7, atol=0)


def test_zeros_give_zeros() -> None:
    stored = nvfp4.quantize(torch.zeros(16, 32))
    assert not multiply(activations(3, 32), stored, None).any()
    assert not multiply(torch.zeros(3, 512), nvfp4.quantize(random_weight()), None).any()


def test_other_weights_are_multiplied_as_in_the_application() -> None:
    assert multiply_for(nvfp4.quantize(random_weight(32, 64))) is multiply
    for stored in (
        nvfp4.quantize(random_weight(32, 48)),  # the kernel reads 32 columns at once
        nvfp4.quantize(random_weight(30, 64)),
        fp8.quantize(random_weight(32, 64), "e4m3", per_row=True),
    ):
        assert multiply_for(stored) is choose_multiply(stored, fast=True)
