"""Decoding 81 frames: the application's VAE against the stock one in bf16."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from benchmarks.measuring import device, milliseconds, peak_gib, reset_peak
from benchmarks.modes import REPEATS
from benchmarks.planned import planned
from benchmarks.random_model import DTYPE
from benchmarks.stock import stock_decode, stock_vae
from benchmarks.target_row import Bench, Found, Goal, Target, ratio_at_least
from tools.pocket.training_run import psnr
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.lending import job_models
from wanvideo.memory_plan import VAE_DECODE
from wanvideo.model_cache import ModelCache
from wanvideo.models.vae import decode
from wanvideo.options import COMPILE_BLOCKS, COMPILE_OFF

LATENTS, TINY_LATENTS = (16, 21, 60, 104), (16, 3, 8, 8)
LEAST_PSNR = 50.0
Decode: TypeAlias = Callable[[AutoencoderKLWan, Tensor], Tensor]
log = logging.getLogger("benchmarks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A video (3, frames, H, W), milliseconds, the most that was reserved."""

    video: Tensor
    ms: float
    peak_gib: float | None


@torch.no_grad()
def _decode(bench: Bench) -> Found:
    bench.forget()
    compiles = COMPILE_BLOCKS if device() == "cuda" else COMPILE_OFF
    plan = planned(bench, "vae", compile=compiles)
    facts = plan.models.vae
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(TINY_LATENTS if bench.quick else LATENTS, generator=generator).to(device())
    exact = _in_fp32(facts, latents)
    theirs = _timed(stock_vae(facts, DTYPE), latents, stock_decode)
    with job_models(plan, ModelCache(), log.info).vae(VAE_DECODE) as vae:
        ours = _timed(vae, latents, decode)
    near, their_near = psnr(ours.video[None], exact[None]), psnr(theirs.video[None], exact[None])
    peaks = [one.peak_gib for one in (ours, theirs) if one.peak_gib is not None]
    return Found(
        value=ours.ms,
        unit="ms",
        peer=theirs.ms,
        ratio=theirs.ms / ours.ms,
        holds=near >= LEAST_PSNR,
        quality=f"PSNR against fp32: {near:.1f} dB, stock {their_near:.1f} dB",
        how=f"as the application decodes, {plan.vae_dtype}, compile {compiles}"
        + (f"; peak {peaks[0]:.1f} GiB, stock {peaks[1]:.1f}" if peaks else ""),
    )


def _in_fp32(facts: CheckpointFacts, latents: Tensor) -> Tensor:
    """The video that both are compared with: stock, without tf32 in the convolutions; on the host."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return stock_decode(stock_vae(facts, torch.float32), latents).cpu()


def _timed(vae: AutoencoderKLWan, latents: Tensor, run: Decode) -> Decoded:
    reset_peak()
    video = run(vae, latents).cpu()
    spent = milliseconds(lambda: run(vae, latents), warm_ups=1, repeats=REPEATS)
    return Decoded(video=video, ms=spent, peak_gib=peak_gib())


TARGETS = (
    Target(
        name="VAE decode 480p",
        measure=_decode,
        goal=Goal(text=">= 1.8 x as fast, PSNR >= 50 dB", is_met=ratio_at_least(1.8)),
        peer="stock AutoencoderKLWan, bf16",
    ),
)
