"""Block swap on a card: bit-identical, without waiting, without copies back, in page-locked memory."""

import pytest
import torch
from torch import Tensor

from tests.placement.test_swap import MODES, forward, given, same
from tests.tiny_models import AUDIO, IMAGE_DIM, TEXT_DIM
from wanvideo.checkpoint.quantized_linears import build_linears, ignore_progress
from wanvideo.hardware import probe_hardware
from wanvideo.memory_plan import SwapPlan
from wanvideo.models.precision import keeps_fp32
from wanvideo.models.transformer import WanTransformer
from wanvideo.placement.residence import Residence
from wanvideo.registry import quantization_modes

pytestmark = pytest.mark.gpu
LAYERS = 6
SWAPS = [
    SwapPlan(blocks=1, pinned_bytes=1 << 40),
    SwapPlan(blocks=3, slots=2, streams=2, pinned_bytes=1 << 40),
    SwapPlan(blocks=6, slots=1, pinned_bytes=1 << 40),
    SwapPlan(blocks=6, slots=3, streams=4, pinned_bytes=1 << 40),
    SwapPlan(blocks=6, slots=2, pinned_bytes=8 << 20),
    SwapPlan(blocks=6, slots=2, pinned_bytes=0),
    SwapPlan(blocks=6, slots=2, asynchronous=False),
    SwapPlan(blocks=5, slots=2, pinned_bytes=1 << 40, timed=True),
]


@torch.no_grad()
def make(mode: str) -> WanTransformer:
    """A random model of the smallest sizes that every kernel takes, on the card."""
    sizes = {"num_attention_heads": 4, "attention_head_dim": 128, "in_channels": 36, "out_channels": 16}
    sizes |= {"text_dim": TEXT_DIM, "freq_dim": 64, "ffn_dim": 1024, "num_layers": LAYERS}
    model = WanTransformer(**sizes, image_dim=IMAGE_DIM, added_kv_proj_dim=512, audio=AUDIO)
    generator = torch.Generator().manual_seed(3)
    state = {}
    for name, tensor in model.state_dict().items():
        drawn = torch.randn(tensor.shape, generator=generator) * 0.05
        state[name] = (drawn if keeps_fp32(name) else drawn.bfloat16()).cuda()
    row = quantization_modes()[mode]
    build_linears(model, state, {}, row, ("cuda", torch.bfloat16), ignore_progress)
    model.load_state_dict(state, strict=False, assign=True)
    return model.eval().requires_grad_(False)


def run(model: WanTransformer) -> list[Tensor]:
    return forward(model, 2, "cuda")


@pytest.fixture
def usable(request: pytest.FixtureRequest) -> str:
    mode: str = request.param
    reason = quantization_modes()[mode].unavailable_reason(probe_hardware())
    if reason:
        pytest.skip(reason)
    return mode


@pytest.mark.parametrize("usable", MODES, indirect=True)
def test_swapped_is_bit_identical_on_the_card(usable: str) -> None:
    model = make(usable)
    exact, residence = run(model), Residence(model, "cuda", blocks=list(model.blocks))
    held = residence.device_bytes
    for swap in SWAPS:
        with residence.running(swap):
            assert residence.device_bytes < held
            for _ in range(3):
                assert same(run(model), exact), swap
    with residence.running():
        assert residence.device_bytes == held and residence.host_bytes == 0
        assert same(run(model), exact)
    residence.retreat()
    assert residence.device_bytes == 0
    with residence.running():
        assert same(run(model), exact)


def test_what_is_pinned_stays_within_its_share() -> None:
    model = make("disabled")
    residence = Residence(model, "cuda", blocks=list(model.blocks))
    for share, wanted in ((0, 0), (1 << 40, LAYERS)):
        residence.settle(SwapPlan())
        residence.settle(SwapPlan(blocks=LAYERS, pinned_bytes=share))
        assert sum(block.pinned for block in residence._hosted.values()) == wanted
    one = next(iter(residence._hosted.values())).size
    residence.settle(SwapPlan())
    residence.settle(SwapPlan(blocks=LAYERS, pinned_bytes=3 * one + one // 2))
    assert sum(block.pinned for block in residence._hosted.values()) == 3


@pytest.mark.parametrize("streams", [1, 2])
def test_the_host_waits_for_nothing(streams: int) -> None:
    model = make("fp8_e4m3fn")
    residence = Residence(model, "cuda", blocks=list(model.blocks))
    with residence.running(SwapPlan(blocks=LAYERS, streams=streams, pinned_bytes=1 << 40)):
        latents, timestep, told, rotary = given(model, 2, "cuda")
        torch.cuda.set_sync_debug_mode("error")
        try:
            with torch.no_grad():
                model.forward_passes(latents, timestep, told, rotary=rotary)
        finally:
            torch.cuda.set_sync_debug_mode("default")


def test_no_weight_is_copied_back() -> None:
    from torch.profiler import ProfilerActivity, profile

    model = make("disabled")
    residence = Residence(model, "cuda", blocks=list(model.blocks))
    with residence.running(SwapPlan(blocks=LAYERS, pinned_bytes=1 << 40)):
        run(model)
        with profile(activities=[ProfilerActivity.CUDA, ProfilerActivity.CPU]) as seen:
            run(model)
            torch.cuda.synchronize()
    copies = [event.name for event in seen.events() if "Memcpy" in event.name]
    assert any("HtoD" in name for name in copies)
    assert not [name for name in copies if "DtoH" in name]


def test_compiled_blocks_swap_bit_identical() -> None:
    model = make("fp8_e4m3fn_scaled")
    for block in model.blocks:
        block.forward = torch.compile(block.forward, fullgraph=True)
    exact, residence = run(model), Residence(model, "cuda", blocks=list(model.blocks))
    with residence.running(SwapPlan(blocks=LAYERS, slots=2, streams=2, pinned_bytes=1 << 40)):
        for _ in range(3):
            assert same(run(model), exact)
    torch.compiler.reset()


def test_going_on_with_more_blocks_between_two_passes() -> None:
    model = make("fp4_scaled")
    exact, residence = run(model), Residence(model, "cuda", blocks=list(model.blocks))
    with residence.running(SwapPlan(blocks=2, pinned_bytes=1 << 40)):
        assert same(run(model), exact)
        held = residence.device_bytes
        residence.settle_again(SwapPlan(blocks=5, pinned_bytes=1 << 40))
        assert residence.device_bytes < held
        assert same(run(model), exact)
