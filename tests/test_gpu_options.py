"""What only a card can show of the options: fused products, switches, norms, the check of layout."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.models.test_projections import run, talk_model
from tests.quantization.weights import activations, random_weight, relative_error
from tests.tiny_models import write_tiny_models
from wanvideo.models.contiguity import contiguity_checked
from wanvideo.models.rms_norm import RMS_NORMS
from wanvideo.models.transformer import WanTransformer
from wanvideo.quantization.joined import LinearPart, join_linears, split_product, why_apart
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.stored import StoredWeight
from wanvideo.registry import quantization_modes
from wanvideo.torch_switches import TorchSwitches, switched

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

MODES = quantization_modes()
SIZE, TOKENS = 1536, 1027  # the 1.3B model's, and a number of tokens that is a multiple of nothing
PARTS = 3
SAME = 4e-3  # relative error of bf16 outputs whose sums run in another order, or are scaled by rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


def needs(mode: str) -> None:
    if MODES[mode].fallback is not None and torch.cuda.get_device_capability() < (8, 9):
        pytest.skip("no FP8 tensor cores")


def linears(mode: str) -> list[torch.nn.Linear]:
    row, made = MODES[mode], []
    for part in range(PARTS):
        weight = (random_weight(SIZE, SIZE, seed=part) * (1 + part)).bfloat16().cuda()
        dense = StoredWeight(format="dense", tensors={"weight": weight}, shape=(SIZE, SIZE))
        bias = activations(SIZE, seed=part).cuda()
        made.append(row.make_linear(row.store(weight) if row.store else dense, bias, torch.bfloat16))
    return made


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_fused_equals_unfused(mode: str) -> None:
    needs(mode)
    separate, x = linears(mode), activations(2, TOKENS, SIZE).cuda()
    expected = [linear(x) for linear in separate]
    assert why_apart(separate) is None
    joined, parts = join_linears(separate), [LinearPart(linear) for linear in separate]
    for output, wanted in zip(split_product(joined(x), parts, x), expected, strict=True):
        assert relative_error(output, wanted) < SAME
    down, up = activations(8, SIZE, seed=7).cuda() * 0.02, activations(SIZE, 8, seed=8).cuda() * 0.1
    parts[1].add_lora("style", down, up, 0.5)
    changed = split_product(joined(x), parts, x)
    assert torch.equal(changed[0], split_product(joined(x), parts, x)[0])
    effect = 0.5 * (x.float() @ down.float().T @ up.float().T)
    assert relative_error(changed[1], expected[1].float() + effect) < 2 * SAME


@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_fused_model_equals_the_unfused_one(folder: Path, mode: str) -> None:
    needs(mode)
    model = talk_model(folder, mode).cuda()
    expected = run(model)
    assert model.join_projections() == {}
    assert isinstance(model.blocks[0].attn1.joined, QLinear if MODES[mode].store else torch.nn.Linear)
    assert relative_error(run(model), expected) < 2e-2  # of a whole bf16 model


@pytest.mark.parametrize("mode", ["disabled", "fp8_e4m3fn_scaled_fast", "fp4_scaled_fast"])
@torch.no_grad()
def test_fused_blocks_compile_into_one_graph(folder: Path, mode: str) -> None:
    needs(mode)
    torch.compiler.reset()
    model = talk_model(folder, mode).cuda()
    model.join_projections()
    expected = run(model)
    for block in model.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True)
    assert relative_error(run(model), expected) < 3e-2


def test_switches_hold_for_the_job_and_are_put_back() -> None:
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    library = torch.backends.cuda.preferred_blas_library

    def state() -> tuple[object, ...]:
        return matmul.allow_fp16_accumulation, matmul.allow_tf32, cudnn.allow_tf32, library()

    before = state()
    with switched(TorchSwitches(fp16_accumulation=True, tf32=True, cublaslt=True)):
        assert state()[:3] == (True, True, True)
        assert library() == torch._C._BlasBackend.Cublaslt
    assert state() == before
    with pytest.raises(ZeroDivisionError), switched(TorchSwitches(fp16_accumulation=True, tf32=True)):
        raise ZeroDivisionError
    assert state() == before


def product_error(dtype: torch.dtype, switches: TorchSwitches) -> float:
    """Relative error of a product of random matrices against their product in float64."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(512, 8192, generator=generator).to("cuda", dtype) for _ in range(2))
    with switched(switches):
        found = first @ second.t()
    return relative_error(found, first.double() @ second.double().t())


def test_tf32_changes_fp32_products_alone() -> None:
    plain, switched_on = TorchSwitches(), TorchSwitches(tf32=True)
    assert product_error(torch.float32, plain) < 1e-5
    if torch.cuda.get_device_capability() >= (8, 0):
        assert 5e-5 < product_error(torch.float32, switched_on) < 5e-3
    assert product_error(torch.bfloat16, plain) == product_error(torch.bfloat16, switched_on)


@pytest.mark.parametrize("switches", [TorchSwitches(fp16_accumulation=True), TorchSwitches(cublaslt=True)])
def test_products_of_fp16_stay_usable(switches: TorchSwitches) -> None:
    assert product_error(torch.float16, switches) < 5e-2
    assert product_error(torch.float32, switches) < 1e-5


@torch.no_grad()
def test_norm_of_pytorch_is_the_default_within_rounding(folder: Path) -> None:
    layer = torch.nn.RMSNorm(5120, eps=1e-6, device="cuda", dtype=torch.bfloat16)
    torch.nn.init.normal_(layer.weight, mean=1.0, std=0.3)
    wide = activations(2, TOKENS, 3 * 5120).cuda() * 30
    for states in (wide[..., :5120].contiguous(), wide[..., 5120:10240]):  # a view of a fused product too
        first, second = (norm(layer, states) for norm in RMS_NORMS.values())
        torch.testing.assert_close(second, first, rtol=2.0**-7, atol=0)
    model, outputs = talk_model(folder, "disabled").cuda(), []
    for name in RMS_NORMS:
        model.set_rms_norm(name)
        outputs.append(run(model))
    assert relative_error(outputs[1], outputs[0]) < 2e-2


@pytest.mark.parametrize("is_joined", [False, True], ids=["apart", "joined"])
@pytest.mark.parametrize("mode", MODES)
@torch.no_grad()
def test_layout_of_a_whole_talk_model_is_sound(folder: Path, mode: str, is_joined: bool) -> None:
    needs(mode)
    model: WanTransformer = talk_model(folder, mode).cuda()
    if is_joined:
        model.join_projections()
    for name in RMS_NORMS:
        model.set_rms_norm(name)
        expected: Tensor = run(model)
        with contiguity_checked(model):
            assert torch.equal(run(model), expected)
    assert not any(module._forward_pre_hooks for module in model.modules())
