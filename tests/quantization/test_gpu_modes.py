"""What must hold for the linears of every mode and stored format on a card: `pytest -m gpu`.

Cases and limits are those of the CPU's tests.
"""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from benchmarks.modes import Variant, variants
from tests.quantization.test_modes import LOSSES, STORING, WEIGHTS
from tests.quantization.test_nvfp4 import SHAPES
from tests.quantization.test_qlinear import LAYERS, QUANTIZED, assert_same, layer_of, payload, quantized
from tests.quantization.weights import IN as WIDE
from tests.quantization.weights import OUT as HIGH
from tests.quantization.weights import activations, outlier_weight, random_weight, relative_error
from wanvideo.hardware import probe_hardware
from wanvideo.quantization import fp8, nvfp4
from wanvideo.quantization.formats import FORMATS
from wanvideo.quantization.linear import QLinear, make_linear
from wanvideo.quantization.matmul import scaled_fp8
from wanvideo.quantization.rows import FP4_CAPABILITY, needs_fp8_cores
from wanvideo.quantization.stored import StoredWeight
from wanvideo.registry import QuantizationMode

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

IN, OUT, RANK = 256, 64, 4  # of the layers
DTYPES = (torch.bfloat16, torch.float16, torch.float32)
ROUNDING = {torch.bfloat16: 0.005, torch.float16: 0.002, torch.float32: 0.001}  # of a dense product
FAST_LOSS = 0.05  # the activations are rounded as well
MACHINE = probe_hardware()
VARIANTS = [variant for variant in variants(MACHINE, []) if variant.mode.store is not None]


def one_layer_for_each_path() -> dict[str, str]:
    """Multiplication and format -> the first layer that has them."""
    layers = {name: quantized(name) for name in reversed(QUANTIZED)}
    return {f"{layer.multiply.__name__} {layer.format}": name for name, layer in layers.items()}


def usable(variant: Variant) -> QuantizationMode:
    """Skips a mode that this card can't run."""
    if variant.reason is not None:
        pytest.skip(variant.reason)
    return variant.mode


def on_card(name: str, dtype: torch.dtype = torch.bfloat16) -> nn.Linear:
    reason = needs_fp8_cores("FP8 matmul", MACHINE)
    if "fast" in name and reason is not None:
        pytest.skip(reason)
    return layer_of(name).to("cuda").to(dtype)


def quantized_on_card(name: str, dtype: torch.dtype = torch.bfloat16) -> QLinear:
    layer = on_card(name, dtype)
    assert isinstance(layer, QLinear)
    return layer


def stored_by(mode: QuantizationMode, weight: Tensor) -> StoredWeight:
    assert mode.store is not None
    return mode.store(weight)


def share_of_other_bytes(first: Tensor, second: Tensor) -> float:
    first, second = (tensor.reshape(-1).view(torch.uint8) for tensor in (first, second))
    return float((first != second).float().mean())


def values(stored: StoredWeight) -> Tensor:
    return FORMATS[stored.format].dequantize(stored, torch.float64)


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_output_error_stays_within_the_figures_of_the_cpu(
    variant: Variant, kind: str, dtype: torch.dtype
) -> None:
    mode = usable(variant)
    weight = WEIGHTS[kind]().to(dtype).cuda()
    rows = activations(129, WIDE, dtype=dtype).cuda()
    if kind == "outlier":
        rows[:, :5] *= 10
    before = rows.clone()
    stored = stored_by(mode, weight)
    assert stored.nbytes / (HIGH * WIDE) == pytest.approx(mode.bytes_per_weight, rel=0.02)
    output = mode.make_linear(stored, None, dtype)(rows)
    assert output.dtype == dtype and torch.equal(rows, before)
    limit = LOSSES[mode.name][kind == "outlier"] * 1.1
    assert limit / 2.5 < relative_error(output, rows.double() @ weight.double().T) < limit


@pytest.mark.parametrize("mode", STORING, ids=lambda mode: mode.name)
@pytest.mark.parametrize("kind", WEIGHTS)
def test_card_and_cpu_store_the_same(mode: QuantizationMode, kind: str) -> None:
    weight = WEIGHTS[kind]().bfloat16()
    here, there = stored_by(mode, weight), stored_by(mode, weight.cuda())
    for name, tensor in here.tensors.items():
        assert share_of_other_bytes(tensor, there.tensors[name].cpu()) == 0


@pytest.mark.parametrize("name", QUANTIZED)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_rows_of_every_number_and_shape(name: str, dtype: torch.dtype) -> None:
    layer = quantized_on_card(name, dtype)
    dense = values(layer.stored())
    assert layer.bias is not None
    for shape in ((1,), (3,), (17,), (129,), (2, 7), (2, 1)):
        rows = activations(*shape, IN, dtype=dtype).cuda()
        before = rows.clone()
        output = layer(rows)
        assert output.shape == (*shape, OUT) and output.dtype == dtype and torch.equal(rows, before)
        wanted = rows.double() @ dense.T + layer.bias.double()
        assert relative_error(output, wanted) < (FAST_LOSS if "fast" in name else ROUNDING[dtype])
    assert layer(activations(IN, dtype=dtype).cuda()).shape == (OUT,)
    for empty in ((0,), (2, 0)):
        output = layer(torch.empty(*empty, IN, dtype=dtype, device="cuda"))
        assert output.shape == (*empty, OUT) and output.dtype == dtype


@pytest.mark.parametrize("name", LAYERS)
def test_rows_may_lie_anyhow_in_memory(name: str) -> None:
    layer = on_card(name)
    transposed, wide = activations(IN, 9).cuda().t(), activations(9, 2 * IN).cuda()[:, IN:]
    for rows in (transposed, wide):
        torch.testing.assert_close(layer(rows), layer(rows.contiguous()), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", LAYERS)
def test_a_row_of_zeros_gives_the_bias_and_a_huge_one_no_harm_to_others(name: str) -> None:
    layer, rows = on_card(name), activations(5, IN).cuda()
    assert layer.bias is not None
    rows[1] = 0
    rows[2] *= 1000
    output = layer(rows)
    assert torch.equal(output[1], layer.bias) and bool(output.isfinite().all())
    torch.testing.assert_close(output[3:], layer(rows[3:]), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("name", QUANTIZED)
def test_moves_and_casts_leave_the_payload_alone(name: str) -> None:
    layer = quantized(name)
    before, rows = payload(layer), activations(3, IN)
    output = layer(rows)
    for change in (
        lambda: layer.to("cuda"),
        lambda: layer.half(),
        lambda: layer.to("cuda", torch.float32),
        lambda: layer.to(torch.bfloat16),
        lambda: layer.cpu(),
        lambda: layer.cuda(),
        lambda: layer.to("cpu", non_blocking=True),
    ):
        change()
        torch.cuda.synchronize()
        assert_same({name: tensor.cpu() for name, tensor in payload(layer).items()}, before)
    assert torch.equal(layer(rows), output)
    on_card_too = copy.deepcopy(layer).to("cuda")
    limit = 2 * FAST_LOSS if "fast" in name else 0.01  # activations at a rounding border fall either way
    assert relative_error(on_card_too(rows.cuda()).cpu(), output) < limit


@pytest.mark.parametrize("name", QUANTIZED)
def test_a_copy_is_equal_and_independent(name: str) -> None:
    layer, rows = quantized_on_card(name), activations(3, IN).cuda()
    twin, output = copy.deepcopy(layer), layer(rows)
    for tensor in layer.parameters():
        tensor.data.zero_()
    assert torch.equal(twin(rows), output)


@pytest.mark.parametrize("name", QUANTIZED)
def test_what_the_card_saved_is_the_same_on_the_cpu(name: str, tmp_path: Path) -> None:
    layer, rows = quantized_on_card(name), activations(3, IN).cuda()
    file = tmp_path / "state.safetensors"
    save_file(layer.state_dict(), file)
    for device in ("cpu", "cuda"):
        other = copy.deepcopy(layer)
        for tensor in other.parameters():
            tensor.data.zero_()
        other.load_state_dict(load_file(file, device=device), strict=True, assign=True)
        assert_same({n: t.cpu() for n, t in payload(other).items()}, payload(quantized(name)))
        assert torch.equal(other.to("cuda")(rows), layer(rows))


@pytest.mark.parametrize("name", QUANTIZED)
def test_branches_add_the_dense_product(name: str) -> None:
    layer, rows = quantized_on_card(name, torch.float32), activations(2, 5, IN, dtype=torch.float32).cuda()
    plain = layer(rows)
    down, up = (activations(*shape, seed=7, dtype=torch.float32) * 0.1 for shape in ((RANK, IN), (OUT, RANK)))
    layer.add_lora("style", down, up, -2.0)
    wanted = plain.double() - 2.0 * rows.double() @ (up.double() @ down.double()).T.cuda()
    assert relative_error(layer(rows), wanted) < 1e-3
    layer.remove_lora("style")
    assert torch.equal(layer(rows), plain)


@pytest.mark.parametrize("name", one_layer_for_each_path().values())
def test_every_path_compiles_into_one_graph(name: str) -> None:
    torch.compiler.reset()
    layer, rows = quantized_on_card(name), activations(2, 64, IN).cuda()
    layer.add_lora("style", activations(RANK, IN, seed=7) * 0.1, activations(OUT, RANK, seed=8) * 0.1, 0.5)
    compiled = torch.compile(layer.forward, fullgraph=True)
    with torch.no_grad():
        assert relative_error(compiled(rows), layer(rows)) < 2e-2


@pytest.mark.parametrize("name", LAYERS)
@torch.no_grad()
def test_the_host_never_waits(name: str) -> None:
    layer, rows = on_card(name), activations(33, IN).cuda()
    layer(rows)
    torch.cuda.set_sync_debug_mode("error")
    try:
        output = layer(rows)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert bool(output.isfinite().all())


@pytest.mark.parametrize(("rows", "columns"), [(24, 64), (64, 24), (7, 9)])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)
def test_sizes_that_tensor_cores_refuse(rows: int, columns: int, variant: Variant) -> None:
    mode = usable(variant)
    weight, x = random_weight(rows, columns).bfloat16().cuda(), activations(5, columns).cuda()
    stored = stored_by(mode, weight)
    output = mode.make_linear(stored, None, torch.bfloat16)(x)
    assert relative_error(output, x.double() @ values(stored).T) < ROUNDING[torch.bfloat16]


@pytest.mark.parametrize("format", fp8.DTYPES)
@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_scaled_product_is_the_product_of_what_was_rounded(
    format: str, per_row: bool, dtype: torch.dtype
) -> None:
    """Also for weights in e5m2 under activations in e4m3."""
    weight = outlier_weight().cuda()
    rows = activations(13, WIDE, dtype=dtype).cuda()
    stored = fp8.quantize(weight, format, per_row=per_row)
    bias = activations(HIGH, seed=9, dtype=dtype).cuda()
    rounded, scale = fp8.quantize_activations(rows)
    exact = (rounded.double() * scale.double()) @ values(stored).T + bias.double()
    # In fp32 the fast accumulation of the tensor cores is what is left of the error.
    assert relative_error(scaled_fp8(rows, stored, bias), exact) < max(ROUNDING[dtype], 2e-3)


def test_half_precision_does_not_overflow_inside_the_product() -> None:
    stored = fp8.quantize(torch.full((32, 4096), 0.02, device="cuda"), "e5m2", per_row=True)
    rows = torch.full((3, 4096), 8.0, dtype=torch.float16, device="cuda")
    output = make_linear(stored, None, torch.float16, fast=True)(rows)
    # Fast accumulation cuts every partial sum: where all have one sign, that adds up to two per cent.
    torch.testing.assert_close(
        output.double().cpu(), torch.full((3, 32), 4096 * 0.16).double(), rtol=0.03, atol=0
    )


# In a process of its own: a kernel that the card can't run may take the process along.
KITCHEN = """
import sys
import comfy_kitchen, torch
from safetensors.torch import load_file, save_file
given = {name: tensor.cuda() for name, tensor in load_file(sys.argv[1]).items()}
with comfy_kitchen.use_backend("cuda"):
    packed, blocks = comfy_kitchen.quantize_nvfp4(given["weight"], given["scale"])
torch.cuda.synchronize()
save_file({"weight": packed.cpu(), "weight_scale": blocks.view(torch.uint8).cpu()}, sys.argv[2])
"""


@pytest.mark.parametrize("shape", SHAPES)
def test_comfy_kitchens_kernel_packs_the_same_bits(shape: tuple[int, int], tmp_path: Path) -> None:
    pytest.importorskip("comfy_kitchen", reason="comfy-kitchen is not installed")
    rows = shape[0] // 16 * 16  # its kernel takes whole 16
    weight = random_weight(rows, shape[1]).bfloat16()
    stored = nvfp4.quantize(weight.cuda())
    files = [tmp_path / name for name in ("given.safetensors", "packed.safetensors")]
    save_file({"weight": weight, "scale": stored.tensors["weight_scale_2"].cpu()}, files[0])
    done = subprocess.run(
        [sys.executable, "-c", KITCHEN, *map(str, files)], capture_output=True, text=True, timeout=120
    )
    if done.returncode:
        pytest.skip(f"its kernel does not run here: {' '.join(done.stderr.split())[-300:]}")
    packed = load_file(files[1])
    shares = {
        name: share_of_other_bytes(stored.tensors[name].cpu(), tensor) for name, tensor in packed.items()
    }
    if any(shares.values()) and torch.cuda.get_device_capability() < FP4_CAPABILITY:
        pytest.skip(f"not used on this card; shares of bytes that differ: {shares}")
    assert not any(shares.values()), shares
