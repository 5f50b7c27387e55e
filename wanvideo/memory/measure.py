"""Measures how fast this machine is, in some seconds: linears, attention, memory, copies, the VAE's kind of
convolution. Small runs, on the card or on the CPU.
"""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from wanvideo.hardware import Hardware
from wanvideo.memory.rates import DENSE, FAST, OWN, Rates, matmul_class
from wanvideo.proof.kept import Proof
from wanvideo.registry import (
    AttentionPlace,
    QuantizationMode,
    StoredWeight,
    attention_backends,
    quantization_modes,
)

if TYPE_CHECKING:
    import torch

log = logging.getLogger(__name__)

SECONDS_EACH = 1.0  # of one thing that is measured, at most
REPEATS = 5
HEAD_DIM = 128
# On the card the feed-forward of the 14B model; a CPU gets a small part of it.
LINEARS = {"cuda": (4096, 5120, 13824), "cpu": (512, 512, 1024)}  # tokens, inputs, outputs
ATTENTIONS = {"cuda": (16, 8192), "cpu": (2, 1024)}  # heads, tokens
COPIED_BYTES = {"cuda": 256 << 20, "cpu": 32 << 20}
CONVOLUTIONS = {"cuda": (192, 4, 240, 416), "cpu": (24, 4, 60, 104)}  # channels, frames, height, width
Say = Callable[[str], None]


def measure_rates(machine: Hardware, proven: Iterable[Proof] = (), say: Say = lambda _: None) -> Rates:
    """`proven` attention backends are measured beside the exact one: what was not tried may crash."""
    import torch

    device = machine.device
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[machine.dtype]
    with torch.no_grad():
        say("linears")
        matmul = dict(_linears(machine, dtype))
        say("attention")
        attention = dict(_attentions(device, dtype, [proof.name for proof in proven if proof.usable]))
        say("memory and copies")
        memory, pinned, pageable = _copies(device)
        say("convolution")
        convolution = _convolution(device)
        say("the CPU")
        cpu = _linear_rate("cpu", torch.float32)
    return Rates(
        matmul=matmul,
        attention=attention,
        memory=memory,
        pinned=pinned,
        pageable=pageable,
        convolution=convolution,
        cpu=cpu,
    )


def _linears(machine: Hardware, dtype: "torch.dtype") -> Iterator[tuple[str, float]]:
    """(class, TFLOP/s). The first mode of a class speaks for all of it; a CPU has the dense one alone."""
    yield DENSE, _linear_rate(machine.device, dtype)
    if machine.device == "cpu":
        return
    found: set[str] = set()
    for mode in quantization_modes().values():
        has_own = mode.cores is not None and mode.cores.unavailable_reason(machine) is None
        name = matmul_class(mode, has_own)
        if mode.store is None or name not in (FAST, OWN) or name in found:
            continue
        if mode.unavailable_reason(machine) is not None:
            continue
        found.add(name)
        try:
            yield name, _mode_rate(mode, has_own, dtype)
        except RuntimeError as error:
            log.warning("%s can't be measured, it counts as dense: %s", mode.name, error)


def _mode_rate(mode: QuantizationMode, own_cores: bool, dtype: "torch.dtype") -> float:
    """TFLOP/s of a linear in that mode, with the quantization of what it is given."""
    import torch

    tokens, inputs, outputs = LINEARS["cuda"]
    weight = torch.randn(outputs, inputs, device="cuda", dtype=torch.bfloat16)
    make = mode.cores.make_linear if own_cores and mode.cores is not None else mode.make_linear
    assert mode.store is not None
    stored: StoredWeight = mode.store(weight)
    linear = make(stored, None, dtype)
    rows = torch.randn(tokens, inputs, device="cuda", dtype=dtype)
    return 2e-12 * tokens * inputs * outputs / seconds_of(lambda: linear(rows), "cuda")


def _linear_rate(device: str, dtype: "torch.dtype") -> float:
    import torch

    tokens, inputs, outputs = LINEARS[device]
    rows = torch.randn(tokens, inputs, device=device, dtype=dtype)
    weight = torch.randn(outputs, inputs, device=device, dtype=dtype)
    return (
        2e-12
        * tokens
        * inputs
        * outputs
        / seconds_of(lambda: torch.nn.functional.linear(rows, weight), device)
    )


def _attentions(device: str, dtype: "torch.dtype", proven: list[str]) -> Iterator[tuple[str, float]]:
    """(backend, TFLOP/s); "" is the one without a fallback, which is exact."""
    import torch

    heads, tokens = ATTENTIONS[device]
    states = torch.randn(1, tokens, heads, HEAD_DIM, device=device, dtype=dtype)
    # In the middle of a long video, where a sparse or mixed backend is itself.
    place = AttentionPlace(block=2, blocks=4, step=4, steps=8, frames=8, frame_tokens=tokens // 8)
    flops = 4e-12 * tokens**2 * heads * HEAD_DIM
    for name, backend in attention_backends().items():
        exact = backend.fallback is None
        if exact or name in proven:
            rate = flops / seconds_of(partial(backend.load(place), states, states, states), device)
            yield name, rate
            if exact:
                yield "", rate


def _copies(device: str) -> tuple[float, float, float]:
    """GB/s within the memory that models work in, and to it from page-locked and from pageable memory."""
    import torch

    size = COPIED_BYTES[device]
    here = torch.empty(size, dtype=torch.uint8, device=device)
    there = torch.empty_like(here)
    within = 2e-9 * size / seconds_of(lambda: there.copy_(here), device)
    if device == "cpu":
        return within, within, within
    pageable = torch.zeros(size, dtype=torch.uint8)
    pinned = pageable.pin_memory()
    from_pinned, from_pageable = (
        1e-9 * size / seconds_of(partial(here.copy_, host), device) for host in (pinned, pageable)
    )
    return within, from_pinned, from_pageable


def _convolution(device: str) -> float:
    """TFLOP/s of the VAE's commonest layer, in fp32 as it runs (with TF32 where cards have it)."""
    import torch
    from diffusers.models.autoencoders.autoencoder_kl_wan import WanCausalConv3d

    from wanvideo.models.vae import use_fast_cpu_convolution

    channels, frames, height, width = CONVOLUTIONS[device]
    layer = torch.nn.Sequential(WanCausalConv3d(channels, channels, 3, padding=1)).to(device)
    use_fast_cpu_convolution(layer)
    video = torch.randn(1, channels, frames, height, width, device=device)
    spent = seconds_of(partial(layer, video), device)
    return 2e-12 * 27 * channels**2 * frames * height * width / spent


def seconds_of(call: Callable[[], Any], device: str) -> float:
    """The median of a few calls, after one to warm up; fewer where a call takes long."""
    import torch

    def once() -> float:
        if device != "cpu":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        call()
        if device != "cpu":
            torch.cuda.synchronize()
        return time.perf_counter() - begun

    once()
    spent: list[float] = []
    began = time.perf_counter()
    while len(spent) < REPEATS and (not spent or time.perf_counter() - began < SECONDS_EACH):
        spent.append(once())
    return sorted(spent)[len(spent) // 2]
