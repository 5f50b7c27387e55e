"""The trial of a matmul tells a right kernel from one that only comes near."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from wanvideo.proof.kept import QUANTIZATION, Trial
from wanvideo.proof.matmul_trial import SIZES, compare, make_layer, make_rows, run_trial
from wanvideo.quantization import nvfp4
from wanvideo.registry import quantization_modes

MODES = quantization_modes()
FAST = [name for name, row in MODES.items() if row.fallback is not None]
COMPUTED_BY = {"disabled": "linear", "fp4_scaled_fast": "four_to_eight"}
SIZE = SIZES["cpu"]
LAYER = make_layer(SIZE, torch.float32, "cpu")
ROWS = make_rows(SIZE.odd_tokens, SIZE.inputs, torch.float32, "cpu")
MANY_ROWS = make_rows(1025, SIZE.inputs, torch.float32, "cpu")  # one token spoils little of the whole
Product = Callable[[Tensor], Tensor]


@pytest.mark.parametrize("dtype", ["bf16", "fp16", "fp32"])
@pytest.mark.parametrize("name", MODES)
def test_every_mode_passes_on_the_processor(name: str, dtype: str) -> None:
    found = run_trial(Trial(kind=QUANTIZATION, name=name, device="cpu", dtype=dtype))
    assert found["fault"] == "" and found["error"] < 0.11
    fallback = COMPUTED_BY.get(name, "scaled_fp8" if name in FAST else "dequantized")
    assert found["computed_by"] == fallback
    assert found["stored_percent"] == pytest.approx(MODES[name].bytes_per_weight * 50, rel=0.02)
    assert found["milliseconds"] > 0 and found["peer_milliseconds"] > 0 and found["dense_milliseconds"] > 0


def of_mode(name: str, dtype: torch.dtype) -> Product:
    row = MODES[name]
    assert row.store is not None
    linear: Product = row.make_linear(row.store(LAYER.weight), LAYER.bias, dtype)
    return linear


def four_bit_activations(rows: Tensor) -> Tensor:
    """What FP4 tensor cores compute."""
    return of_mode("fp4_scaled", torch.float32)(nvfp4.dequantize(nvfp4.quantize(rows), torch.float32))


def verdict(name: str, way: Product) -> str:
    """On the weight as that mode stores it."""
    fault, _ = compare(way, MANY_ROWS, LAYER, of_mode(name, torch.float32))
    return fault


def test_four_bit_activations_pass() -> None:
    assert verdict("fp4_scaled", four_bit_activations) == ""


WRONG: dict[str, Callable[[Product, Tensor], Tensor]] = {
    "a scale a fifth too large": lambda way, rows: way(rows) * 1.2,
    "rows shifted": lambda way, rows: way(rows).roll(1, 0),
    "columns shifted": lambda way, rows: way(rows).roll(1, 1),
    "the scale of a neighbour": lambda way, rows: way(rows) * (1 + 0.5 * (torch.arange(384) % 2)),
    "no bias": lambda way, rows: way(rows) - LAYER.bias,
    "some columns of zeros": lambda way, rows: way(rows).index_fill(1, torch.arange(128, 132), 0),
    "the last token": lambda way, rows: way(rows).index_fill(0, torch.tensor([len(rows) - 1]), 0),
    "half of the channels": lambda way, rows: way(rows * (torch.arange(256) < 128)),
    "zeros": lambda way, rows: torch.zeros_like(way(rows)),
    "another shape": lambda way, rows: way(rows).T,
    "infinite": lambda way, rows: way(rows) / 0,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("name", FAST)
def test_wrong_product_fails(name: str, wrong: str) -> None:
    way = of_mode(name, torch.bfloat16)
    assert verdict(name, lambda rows: way(rows.bfloat16()).float()) == ""
    assert verdict(name, lambda rows: WRONG[wrong](lambda x: way(x.bfloat16()).float(), rows)) != ""


def test_weight_that_was_stored_wrongly_is_no_yardstick() -> None:
    broken: Product = lambda rows: rows @ LAYER.weight.float().T * 1.5  # noqa: E731
    fault, _ = compare(broken, ROWS, LAYER, broken)
    assert "at most 0.250 is right" in fault


def test_change_of_the_input_is_seen() -> None:
    right = of_mode(FAST[0], torch.float32)

    def touch(rows: Tensor) -> Tensor:
        product = right(rows)
        rows[0, 0] += 1
        return product

    fault, _ = compare(touch, ROWS.clone(), LAYER, right)
    assert fault == "it changes the tensor that it is given"


def test_tensors_are_the_same_every_time() -> None:
    assert torch.equal(LAYER.weight, make_layer(SIZE, torch.bfloat16, "cpu").weight)
    assert torch.equal(ROWS, make_rows(SIZE.odd_tokens, SIZE.inputs, torch.float32, "cpu"))
    assert LAYER.weight.shape == (SIZE.outputs, SIZE.inputs) and SIZE.odd_tokens % 16
