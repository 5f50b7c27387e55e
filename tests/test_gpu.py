"""What only a card can show: the same results as on the CPU, and a denoising loop that never waits for it."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.tiny_models import write_tiny_models
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_transformer
from wanvideo.conditioning import PictureConditions, WindowConditions, predictor
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.sampling.denoise import denoise
from wanvideo.sampling.guidance import Apg, Guidance
from wanvideo.sampling.preview import LatentPreview
from wanvideo.sampling.samplers import SAMPLERS
from wanvideo.sampling.steppers import make_stepper

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA card here")]

STEPS = 4  # the number every sampler has


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("tiny"))


def conditions() -> WindowConditions:
    generator = torch.Generator().manual_seed(4)
    masks = torch.zeros(3, 16)
    masks[0, :6], masks[1, 10:], masks[2, 6:10] = 1, 1, 1
    return WindowConditions(
        prompt_embeds=torch.randn(7, 64, generator=generator),
        negative_embeds=torch.randn(5, 64, generator=generator),
        picture=PictureConditions(
            picture=torch.zeros(3, 1, 64, 64),
            image_embeds=torch.randn(257, 80, generator=generator),
            image_latents=torch.randn(20, 3, 8, 8, generator=generator),
        ),
        speech=torch.randn(2, 9, 5, 2, 64, generator=generator),
        regions=SpeakerRegions(masks),
        motion_latents=torch.randn(16, 1, 8, 8, generator=generator),
    )


def run(
    models: Path, device: str, dtype: torch.dtype, sampler: str = "multitalk", *, strict: bool = False
) -> Tensor:
    facts = [
        inspect_checkpoint(models / name)
        for name in ("tiny_i2v.safetensors", "tiny_infinitetalk.safetensors")
    ]
    transformer = load_transformer(*facts, dtype=dtype, device=device).eval()
    noise = torch.randn(1, 16, 3, 8, 8, generator=torch.Generator().manual_seed(5)).to(device)
    told = conditions()
    predict = predictor(transformer, told, noise)
    stepper = make_stepper(
        SAMPLERS[sampler], steps=STEPS, shift=3.0, generator=torch.Generator().manual_seed(6)
    )
    preview = LatentPreview(torch.randn(17, 3).to(device))

    def watch(estimate: Tensor) -> None:
        preview.push(estimate)

    motion = told.motion_latents.to(device) if told.motion_latents is not None else None
    guidance = Guidance([4.0] * STEPS, 3.0, Apg(norm_threshold=5.0))
    if strict:
        torch.cuda.set_sync_debug_mode("error")
    try:
        latents = denoise(
            predict,
            noise,
            stepper,
            guidance,
            range(STEPS),
            lambda _, estimate: watch(estimate),
            motion_latents=motion,
        )
    finally:
        if strict:
            torch.cuda.set_sync_debug_mode("default")
    return latents.cpu()


@torch.no_grad()
def test_card_and_cpu_agree(models: Path) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    exact = run(models, "cpu", torch.float32)
    assert _error(run(models, "cuda", torch.float32), exact) < 1e-4
    assert _error(run(models, "cuda", torch.bfloat16), exact) < 5e-2


@pytest.mark.parametrize("sampler", SAMPLERS)
@torch.no_grad()
def test_the_loop_never_waits_for_the_card(models: Path, sampler: str) -> None:
    run(models, "cuda", torch.bfloat16, sampler)  # kernels and workspaces are made outside the strict run
    assert bool(run(models, "cuda", torch.bfloat16, sampler, strict=True).isfinite().all())


def _error(value: Tensor, reference: Tensor) -> float:
    return float((value - reference).norm() / reference.norm())
