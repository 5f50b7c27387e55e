"""What holds for a linear layer of every mode and every stored format."""

import copy
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tests.quantization.weights import activations, all_linears, random_weight, relative_error
from wanvideo.quantization import fp8
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.linear import QLinear, make_linear
from wanvideo.quantization.stored import StoredWeight

LAYERS = list(all_linears())
QUANTIZED = [name for name, layer in all_linears().items() if isinstance(layer, QLinear)]
IN, OUT = 256, 64


def layer_of(name: str) -> nn.Linear:
    return all_linears()[name]


def quantized(name: str) -> QLinear:
    layer = layer_of(name)
    assert isinstance(layer, QLinear)
    return layer


def payload(layer: QLinear) -> dict[str, Tensor]:
    """The bytes of everything stored; copies."""
    return {n: t.detach().clone().reshape(-1).view(torch.uint8) for n, t in layer.stored().tensors.items()}


def assert_same(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_shapes_dtypes_and_rows_are_kept(name: str, dtype: torch.dtype) -> None:
    layer = layer_of(name).to(dtype)
    rows = activations(2, 7, IN, dtype=dtype)
    before = rows.clone()
    output = layer(rows)
    assert output.shape == (2, 7, OUT) and output.dtype == dtype and output.isfinite().all()
    assert torch.equal(rows, before)
    if "input scale" in name:
        return  # that scale is the whole tensor's; and no row depends on another either
    tolerance = {"rtol": 2e-2, "atol": 2e-2}
    torch.testing.assert_close(layer(rows[0]), output[0], **tolerance)
    torch.testing.assert_close(layer(rows[0, 3]), output[0, 3], **tolerance)
    assert layer(rows[:, :0]).shape == (2, 0, OUT)
    assert layer(rows[0, :0]).dtype == dtype


@pytest.mark.parametrize("name", LAYERS)
def test_rows_may_lie_anyhow_in_memory(name: str) -> None:
    layer, rows = layer_of(name), activations(IN, 9)
    torch.testing.assert_close(layer(rows.t()), layer(rows.t().contiguous()), rtol=2e-2, atol=2e-2)
    wide = activations(9, 2 * IN)[:, IN:]
    torch.testing.assert_close(layer(wide), layer(wide.contiguous()), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_of_zeros_gives_the_bias_and_a_huge_one_no_harm_to_others(name: str) -> None:
    layer, rows = layer_of(name), activations(5, IN)
    assert layer.bias is not None
    rows[1] = 0
    rows[2] *= 1000
    output = layer(rows)
    assert torch.equal(output[1], layer.bias)
    assert output.isfinite().all()
    torch.testing.assert_close(output[3:], layer(rows[3:]), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", QUANTIZED)
def test_output_is_that_of_the_dequantized_weight(name: str) -> None:
    layer, rows = quantized(name), activations(17, IN)
    dense = FORMATS[layer.format].dequantize(layer.stored(), torch.float64)
    assert layer.bias is not None
    error = relative_error(layer(rows), rows.double() @ dense.T + layer.bias.double())
    assert error < (0.05 if "fast" in name else 0.005)  # fast ones round the activations as well


@pytest.mark.parametrize("name", QUANTIZED)
def test_casts_and_moves_leave_the_payload_alone(name: str) -> None:
    layer = quantized(name)
    before, rows = payload(layer), activations(3, IN)
    kinds = {n: t.dtype for n, t in layer.stored().tensors.items()}
    for change in (
        lambda: layer.to(torch.float16),
        lambda: layer.float(),
        lambda: layer.half(),
        lambda: layer.type(torch.float32),
        lambda: layer.to("cpu", torch.bfloat16),
        lambda: layer.share_memory(),
    ):
        change()
        assert_same(payload(layer), before)
        assert {n: t.dtype for n, t in layer.stored().tensors.items()} == kinds
    assert layer.compute_dtype == layer.weight.dtype == torch.bfloat16
    assert layer(rows).dtype == torch.bfloat16
    assert layer.to("meta").stored().tensors["weight"].is_meta


@pytest.mark.parametrize("name", LAYERS)
def test_a_copy_is_equal_and_independent(name: str) -> None:
    layer, rows = layer_of(name), activations(3, IN)
    twin, output = copy.deepcopy(layer), layer(rows)
    assert torch.equal(twin(rows), output)
    for tensor in layer.parameters():
        tensor.data.zero_()
    assert torch.equal(twin(rows), output)


@pytest.mark.parametrize("name", QUANTIZED)
def test_saved_and_read_again_it_is_the_same_bit_by_bit(name: str, tmp_path: Path) -> None:
    layer, rows = quantized(name), activations(3, IN)
    stored = layer.stored()
    save_file(stored.tensors, tmp_path / "weight.safetensors")
    again = StoredWeight(
        format=stored.format,
        tensors=load_file(tmp_path / "weight.safetensors"),
        shape=stored.shape,
        kind=stored.kind,
    )
    read = QLinear(again, layer.bias, torch.bfloat16, layer.multiply)
    assert_same(payload(read), payload(layer))
    assert torch.equal(read(rows), layer(rows))

    other = copy.deepcopy(layer)
    for tensor in other.parameters():
        tensor.data.zero_()
    save_file(layer.state_dict(), tmp_path / "state.safetensors")
    other.load_state_dict(load_file(tmp_path / "state.safetensors"), strict=True, assign=True)
    assert_same(payload(other), payload(layer))
    assert torch.equal(other(rows), layer(rows))


@pytest.mark.parametrize("name", LAYERS)
def test_compiles_into_one_graph(name: str) -> None:
    torch.compiler.reset()
    layer, rows = layer_of(name), activations(2, 3, IN)
    if isinstance(layer, QLinear):
        layer.add_lora("style", activations(4, IN, seed=7) * 0.1, activations(OUT, 4, seed=8) * 0.1, 0.5)
    compiled = torch.compile(layer.forward, fullgraph=True, backend="aot_eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(rows), layer(rows), rtol=1e-2, atol=1e-2)


def test_payload_is_contiguous_and_aligned_wherever_it_came_from() -> None:
    flat = torch.randint(0, 100, (1 + 64 * 64,), dtype=torch.uint8)
    odd = flat[1:].view(64, 64).view(torch.float8_e4m3fn)  # as a slice of a mapped file may lie
    assert odd.data_ptr() % 16
    for weight in (odd, flat[:-1].view(64, 64).t().view(torch.float8_e4m3fn)):
        stored = StoredWeight(format="e4m3", tensors={"weight": weight}, shape=(64, 64))
        kept = QLinear(stored, None, torch.bfloat16).stored().tensors["weight"]
        assert kept.is_contiguous() and kept.data_ptr() % 16 == 0
        assert torch.equal(kept.view(torch.uint8), weight.view(torch.uint8))


@pytest.mark.parametrize("name", QUANTIZED)
def test_it_passes_for_a_plain_linear_of_the_compute_dtype(name: str) -> None:
    layer = quantized(name)
    assert isinstance(layer, nn.Linear)
    assert (layer.in_features, layer.out_features) == (IN, OUT)
    assert layer.weight.shape == (OUT, IN) and layer.weight.dtype == torch.bfloat16
    assert "qweight" in dict(layer.named_parameters()) and not layer.state_dict().keys() & {"weight", "base"}
    assert not any(parameter.requires_grad for parameter in layer.parameters())
    assert layer.format in repr(layer)


@pytest.mark.parametrize(("rows", "columns"), [(24, 64), (64, 24), (7, 9)])
@pytest.mark.parametrize("format", ["e4m3", "nvfp4"])
def test_sizes_that_tensor_cores_refuse_are_dequantized(rows: int, columns: int, format: str) -> None:
    from wanvideo.quantization import nvfp4

    weight = random_weight(rows, columns)
    stored = nvfp4.quantize(weight) if format == "nvfp4" else fp8.quantize(weight, format, per_row=True)
    x = activations(5, columns)
    outputs = [make_linear(stored, None, torch.bfloat16, fast=fast)(x) for fast in (False, True)]
    assert torch.equal(*outputs)
    assert outputs[0].shape == (5, rows)
