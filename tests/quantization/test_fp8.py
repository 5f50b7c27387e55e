"""FP8 arithmetic against float64."""

import pytest
import torch

from tests.counting_backend import CountingBackend
from tests.quantization.weights import activations, outlier_weight, random_weight
from wanvideo.quantization import fp8, matmul
from wanvideo.quantization.matmul import scaled_fp8
from wanvideo.quantization.stored import StoredWeight


@pytest.mark.parametrize("format", fp8.DTYPES)
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("rows", [5, fp8.ROWS_AT_ONCE + 3])
def test_each_element_is_the_nearest_to_the_scaled_weight(format: str, per_row: bool, rows: int) -> None:
    weight = random_weight(rows, 48)
    weight[2] = 0
    stored = fp8.quantize(weight, format, per_row=per_row)
    payload, scale = stored.tensors["weight"], stored.tensors["weight_scale"]
    largest = torch.finfo(fp8.DTYPES[format]).max
    assert scale.dtype == torch.float32 and scale.shape == ((rows, 1) if per_row else ())
    amax = weight.double().abs().amax(dim=1, keepdim=True) if per_row else weight.double().abs().amax()
    wanted = torch.where(amax > 0, amax / largest, 1.0)
    torch.testing.assert_close(scale.double(), wanted, rtol=1e-6, atol=0)
    assert payload.double().abs().max() == largest
    assert not payload[2].double().any()
    grid = torch.arange(256, dtype=torch.uint8).view(fp8.DTYPES[format]).double()
    grid = grid[grid.isfinite()]
    scaled = (weight.double() / scale.double()).clamp(-largest, largest)
    best = (scaled[..., None] - grid).abs().amin(dim=-1)
    chosen = (scaled - payload.double()).abs()
    assert (chosen <= best + 1e-6 * scaled.abs()).all()


@pytest.mark.parametrize("format", fp8.DTYPES)
@pytest.mark.parametrize("shape", [(), (1,), (6,), (6, 1), (1, 1)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_dequantized_is_payload_times_scale(format: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    payload = random_weight(6, 8).mul(100).to(fp8.DTYPES[format])
    scale = torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 0.01
    tensors = {"weight": payload, "weight_scale": scale}
    dense = fp8.dequantize(StoredWeight(format=format, tensors=tensors, shape=(6, 8)), dtype)
    wide = torch.promote_types(dtype, torch.float32)
    assert torch.equal(dense, (payload.to(wide) * scale.reshape(-1, 1)).to(dtype))
    bare = StoredWeight(format=format, tensors={"weight": payload}, shape=(6, 8))
    assert torch.equal(fp8.dequantize(bare, dtype), payload.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("size", [1e-6, 1e-3, 1.0, 300.0])
def test_activations_get_a_scale_for_each_token(dtype: torch.dtype, size: float) -> None:
    rows = (activations(6, 64, dtype=torch.float32) * size).to(dtype)
    rows[4] = 0
    before = rows.clone()
    values, scale = fp8.quantize_activations(rows)
    assert torch.equal(rows, before)
    assert values.dtype == torch.float8_e4m3fn and scale.shape == (6, 1) and scale.isfinite().all()
    assert not values[4].float().any()
    again = values.double() * scale.double()
    if dtype == torch.float16 and size < 1e-4:  # fp16's own steps are as wide as these numbers
        return
    error = (again - rows.double()).abs().amax(dim=1) / rows.double().abs().amax(dim=1).clamp(min=1e-30)
    assert (error <= 1 / 16 + 0.005).all()  # half a step of three mantissa bits, and that of `dtype`


def test_scale_of_the_file_saturates_and_never_gives_nan() -> None:
    rows = activations(4, 32) * 100
    values, scale = fp8.quantize_activations(rows, torch.tensor(0.1))
    assert scale.shape == (1, 1) and scale.item() == pytest.approx(0.1, rel=4e-3)
    assert values.double().isfinite().all() and values.double().abs().max() == 448


@pytest.mark.parametrize("format", fp8.DTYPES)
@pytest.mark.parametrize("per_row", [False, True])
def test_scaled_product_is_the_product_of_what_was_rounded(format: str, per_row: bool) -> None:
    weight = outlier_weight()
    rows = activations(13, weight.shape[1], dtype=torch.float32)
    stored = fp8.quantize(weight, format, per_row=per_row)
    bias = activations(weight.shape[0], seed=9, dtype=torch.float32)
    values, scale = fp8.quantize_activations(rows)
    exact = (values.double() * scale.double()) @ fp8.dequantize(stored, torch.float64).T + bias.double()
    torch.testing.assert_close(scaled_fp8(rows, stored, bias).double(), exact, rtol=1e-4, atol=1e-5)


def test_half_precision_does_not_overflow_inside_the_product() -> None:
    weight = torch.full((32, 4096), 0.02)
    stored = fp8.quantize(weight, "e5m2", per_row=True)
    rows = torch.full((3, 4096), 8.0, dtype=torch.float16)
    output = scaled_fp8(rows, stored, None)
    assert output.dtype == torch.float16
    torch.testing.assert_close(output.double(), torch.full((3, 32), 4096 * 0.16).double(), rtol=0.01, atol=0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_compiled_activations_are_the_same_bits(dtype: torch.dtype) -> None:
    rows = torch.randn(7, 64, generator=torch.Generator().manual_seed(0)).to(dtype)
    rows[2], rows[3, 0] = 0, -9
    torch._dynamo.reset()
    compiled = torch.compile(fp8.quantize_activations, backend="eager", fullgraph=True)(rows)
    for found, expected in zip(compiled, fp8.quantize_activations(rows), strict=True):
        assert torch.equal(found.float(), expected.float())


def test_what_the_card_takes_is_found_outside_of_compiled_code(monkeypatch: pytest.MonkeyPatch) -> None:
    tried, backend = list[torch.device](), CountingBackend()

    def has_multiplied(device: torch.device) -> bool:
        tried.append(device)
        return bool(torch.ones(1).item())  # in the graph it would break it

    def doubled_if_taken(rows: torch.Tensor) -> torch.Tensor:
        return rows * 2 if matmul.takes_row_scales(rows.device) else rows

    monkeypatch.setattr(matmul, "_has_multiplied", has_multiplied)
    compiled, rows = torch.compile(doubled_if_taken, backend=backend, fullgraph=True), torch.ones(3)
    assert all(torch.equal(compiled(rows), rows * 2) for _ in range(2))
    assert tried == [torch.device("cpu")] and len(backend.graphs) == 1
    assert [node.op for node in backend.graphs[0].graph.nodes] == ["placeholder", "call_function", "output"]
