"""One backend on a tensor of Wan's shape, beside exact attention: right, harmless to its inputs, how fast.

The tensors are no plain noise, over which attention comes near to one mean for every query. Here the tokens
belong to a few clusters, and a query sees its own cluster with about half of its weight: a kernel that
returns a mean reaches a cosine of 0.63, one with a wrong softmax scale 0.92, while 4-bit attention keeps
0.999 and a sparse one that sees a third of the keys 0.995 (2048 tokens). A few channels of the keys have an
offset, as in trained models.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from wanvideo.proof.kept import Trial
from wanvideo.proof.timing import interleaved
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace, attention_backends

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
LEAST_COSINE = 0.99
BLOCKS = STEPS = 40
CLUSTERS = 8
CLUSTER_SHARE, NOISE_SHARE, VALUE_NOISE = 0.44, 0.9, 0.5
OFFSET, OFFSET_EVERY = 4.0, 16  # of the keys, and of how many channels one has it
LAST_TOKENS = 64  # looked at by themselves: where a kernel fills up a block


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """Of a video: latent frames, tokens of a frame, heads and channels of a head."""

    frames: int
    frame_tokens: int
    heads: int
    head_dim: int


SMALL = Shape(frames=1, frame_tokens=16, heads=8, head_dim=64)  # the tensor that users send for a check
# 41 frames of 832 x 480 with the heads of the 1.3B model; a CPU takes a small part of that
SIZES = {"cuda": (11, 1560, 12), "cpu": (4, 60, 2)}


def run_trial(trial: Trial) -> dict[str, Any]:
    """The findings, as fields of an AttentionProof, and `fault`: what is wrong, else empty."""
    table = attention_backends()
    row = table[trial.name]
    exact = next(row for row in table.values() if row.fallback is None)
    frames, frame_tokens, heads = SIZES[trial.device]
    wan = Shape(frames=frames, frame_tokens=frame_tokens, heads=heads, head_dim=trial.head_dim)
    found: dict[str, Any] = {"fault": "", "computed_by": row.load(_place(wan, STEPS // 2)).__qualname__}
    with torch.no_grad():
        for field, shape in (("cosine", wan), ("small_cosine", SMALL)):
            tensors = make_tensors(shape, DTYPES[trial.dtype], trial.device)
            found["fault"], found[field] = _examine(row, exact, shape, tensors)
            if found["fault"]:
                return found
            if shape is wan:
                found |= _times(row, exact, shape, tensors)
    return found


def make_tensors(shape: Shape, dtype: torch.dtype, device: str) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key, value (1, tokens, heads, head_dim), the same on every machine."""
    generator = torch.Generator().manual_seed(0)
    tokens = shape.frames * shape.frame_tokens

    def noise(length: int) -> Tensor:
        return torch.randn(1, length, shape.heads, shape.head_dim, generator=generator)

    cluster = torch.randint(CLUSTERS, (tokens,), generator=generator)
    seen, told = noise(CLUSTERS)[:, cluster], noise(CLUSTERS)[:, cluster]
    offset = torch.zeros(shape.head_dim)
    offset[::OFFSET_EVERY] = OFFSET
    query = CLUSTER_SHARE * seen + NOISE_SHARE * noise(tokens)
    key = CLUSTER_SHARE * seen + NOISE_SHARE * noise(tokens) + offset
    value = told + VALUE_NOISE * noise(tokens)
    return query.to(device, dtype), key.to(device, dtype), value.to(device, dtype)


def _place(shape: Shape, step: int) -> AttentionPlace:
    """In the middle of the model: the outer blocks may be computed in another way."""
    return AttentionPlace(
        block=BLOCKS // 2,
        blocks=BLOCKS,
        step=step,
        steps=STEPS,
        frames=shape.frames,
        frame_tokens=shape.frame_tokens,
    )


def _functions(row: AttentionBackend, shape: Shape) -> list[AttentionFunction]:
    """What the backend runs in the middle step, and what it runs in the first where that is another."""
    return list(dict.fromkeys(row.load(_place(shape, step)) for step in (STEPS // 2, 0)))


def _examine(
    row: AttentionBackend, exact: AttentionBackend, shape: Shape, tensors: tuple[Tensor, Tensor, Tensor]
) -> tuple[str, float | None]:
    """(fault, the worst cosine) of all its functions."""
    attend = exact.load(_place(shape, 0))
    by_head = [[states[:, :, head : head + 1].float() for states in tensors] for head in range(shape.heads)]
    expected = torch.cat([attend(*head) for head in by_head], dim=2)  # head by head: scores can be large
    worst: float | None = None
    for function in _functions(row, shape):
        fault, cosine = compare(function, tensors, expected)
        worst = cosine if worst is None or cosine is None else min(worst, cosine)
        if fault:
            return fault, worst
    return "", worst


def compare(
    function: AttentionFunction, tensors: tuple[Tensor, Tensor, Tensor], expected: Tensor
) -> tuple[str, float | None]:
    """(fault, cosine): the lowest over the whole, over each head and over the last tokens."""
    before = [states.clone() for states in tensors]
    attended = function(*tensors)
    if attended.shape != expected.shape:
        return f"its result has the shape {tuple(attended.shape)} instead of {tuple(expected.shape)}", None
    if not all(torch.equal(states, kept) for states, kept in zip(tensors, before, strict=True)):
        return "it changes the tensors that it is given", None
    if not bool(attended.isfinite().all()):
        return "its result has numbers that are not finite", None
    cosine = min(_cosine(*parts) for parts in _parts(attended.float(), expected))
    if cosine <= LEAST_COSINE:
        return f"its result is not attention: cosine {cosine:.4f}, more than {LEAST_COSINE} is needed", cosine
    return "", cosine


def _parts(attended: Tensor, expected: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    yield attended, expected
    yield attended[:, -LAST_TOKENS:], expected[:, -LAST_TOKENS:]
    yield from zip(attended.unbind(2), expected.unbind(2), strict=True)


def _cosine(first: Tensor, second: Tensor) -> float:
    first, second = first.double(), second.double()
    return float((first * second).sum() / (first.norm() * second.norm()).clamp_min(1e-300))


def _times(
    row: AttentionBackend, exact: AttentionBackend, shape: Shape, tensors: tuple[Tensor, Tensor, Tensor]
) -> dict[str, float]:
    """Of one call, here and in torch's own attention."""
    place = _place(shape, STEPS // 2)
    functions = {"milliseconds": row.load(place), "peer_milliseconds": exact.load(place)}
    return interleaved({name: partial(function, *tensors) for name, function in functions.items()})
