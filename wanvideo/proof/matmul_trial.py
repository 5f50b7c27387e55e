"""One quantization mode on a linear of Wan's size: near enough to the dense product, harmless to its inputs,
how fast, how small, and what multiplied.

The yardstick is the mode's own stored weight, multiplied by its fallback in fp32: the error of storing
alone. A matmul that rounds the activations into the same format adds as much again, so a right kernel gives
sqrt 2 times that (1.06 to 1.45 was measured on these tensors, W4A4 among them). Rows, columns and tokens have
sizes of their own and a few channels stand out, so that scales in the wrong place show.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from wanvideo.proof.kept import Trial
from wanvideo.proof.timing import interleaved
from wanvideo.registry import QuantizationMode, StoredWeight, quantization_modes

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
MOST_TIMES_STORED = 1.75  # the error beside that of storing alone
LEAST_LIMIT = 0.02  # bf16 and fp16 round too, where storing loses nothing
MOST_ERROR = 0.25  # whatever was stored: what is further off is no weight of Wan's
OUTLIERS_EVERY, OUTLIER = 64, 4.0  # of how many channels one stands out, and how far
LAST_TOKENS, COLUMN_GROUPS = 16, 8  # looked at by themselves: a kernel may spoil a tile alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a linear, and of what it is given: `odd_tokens` do not fill a tile."""

    inputs: int
    outputs: int
    tokens: int
    odd_tokens: int


# The feed-forward of the 14B model, which takes most of the linears' time; a CPU gets a small part of that
SIZES = {
    "cuda": Size(inputs=5120, outputs=13824, tokens=4096, odd_tokens=257),
    "cpu": Size(inputs=256, outputs=384, tokens=128, odd_tokens=33),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """A dense linear: weight (out, in) in bf16 as files have it, bias (out) in the compute dtype."""

    weight: Tensor
    bias: Tensor


def run_trial(trial: Trial) -> dict[str, Any]:
    """The findings, as fields of a MatmulProof, and `fault`: what is wrong, else empty."""
    table, size, dtype = quantization_modes(), SIZES[trial.device], DTYPES[trial.dtype]
    row = table[trial.name]
    peer = table[row.fallback] if row.fallback else row
    with torch.no_grad():
        layer = make_layer(size, dtype, trial.device)
        stored = _stored(row, layer.weight)
        ways = _ways(row, stored, layer.bias, cores=trial.cores)
        exact = peer.make_linear(stored, layer.bias, torch.float32)
        found: dict[str, Any] = {
            "fault": "",
            "computed_by": _multiply_of(ways[0]),
            "stored_percent": 100 * stored.nbytes / layer.weight.nbytes,
        }
        for tokens in (size.odd_tokens, size.tokens):  # the last one's error is told
            rows = make_rows(tokens, size.inputs, dtype, trial.device)
            for way in reversed(ways):
                found["fault"], found["error"] = compare(way, rows, layer, exact)
                if found["fault"]:
                    return found
        times = _times(ways, peer.make_linear(stored, layer.bias, dtype), layer, rows)
    without_cores = times.pop("otherwise", None)
    if without_cores is not None and times["milliseconds"] > without_cores:
        found["fault"] = (
            f"slower with them, {times['milliseconds']:.2f} ms, than without, {without_cores:.2f} ms"
        )
    return found | times


def make_layer(size: Size, dtype: torch.dtype, device: str) -> Layer:
    """The same on every machine; rows of the weight differ in size."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(size.outputs, size.inputs, generator=generator) * size.inputs**-0.5
    weight *= (0.3 * torch.randn(size.outputs, 1, generator=generator)).exp()
    bias = 0.3 * torch.randn(size.outputs, generator=generator)
    return Layer(weight=weight.to(device, torch.bfloat16), bias=bias.to(device, dtype))


def make_rows(tokens: int, inputs: int, dtype: torch.dtype, device: str) -> Tensor:
    """Activations (tokens, inputs), the same on every machine; tokens differ in size, some channels too."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(tokens, inputs, generator=generator)
    rows *= (0.5 * torch.randn(tokens, 1, generator=generator)).exp()
    rows[:, ::OUTLIERS_EVERY] *= OUTLIER
    return rows.to(device, dtype)


def compare(
    way: Callable[[Tensor], Tensor], rows: Tensor, layer: Layer, exact: Callable[[Tensor], Tensor]
) -> tuple[str, float | None]:
    """(fault, relative error of the whole). `exact` multiplies the stored weight in fp32."""
    expected = linear(rows.float(), layer.weight.float(), layer.bias.float())
    before = rows.clone()
    product = way(rows)
    if product.shape != expected.shape:
        return f"its result has the shape {tuple(product.shape)} instead of {tuple(expected.shape)}", None
    if not torch.equal(rows, before):
        return "it changes the tensor that it is given", None
    if not bool(product.isfinite().all()):
        return "its result has numbers that are not finite", None
    whole = _error(product.float(), expected)
    for parts in zip(_parts(product.float()), _parts(exact(rows.float())), _parts(expected), strict=True):
        part, exact_part, expected_part = parts
        limit = max(MOST_TIMES_STORED * _error(exact_part, expected_part), LEAST_LIMIT)
        limit, error = min(limit, MOST_ERROR), _error(part, expected_part)
        if error > limit:
            return f"its result is not the product: error {error:.3f}, at most {limit:.3f} is right", whole
    return "", whole


def _stored(row: QuantizationMode, weight: Tensor) -> StoredWeight:
    if row.store is not None:
        return row.store(weight)
    out_features, in_features = weight.shape
    return StoredWeight(format="dense", tensors={"weight": weight}, shape=(out_features, in_features))


def _ways(row: QuantizationMode, stored: StoredWeight, bias: Tensor, *, cores: bool) -> list[nn.Linear]:
    """The one that is timed comes first. Beside the cores, other layers of a file use the mode's own way."""
    makers = [row.make_linear]
    if cores:
        assert row.cores is not None
        makers.insert(0, row.cores.make_linear)
    return [make(stored, bias, bias.dtype) for make in makers]


def _multiply_of(layer: nn.Linear) -> str:
    """The name of the function that does the work; a plain linear has none of ours."""
    multiply = getattr(layer, "multiply", linear)
    name: str = multiply.__name__
    return name


def _times(ways: list[nn.Linear], peer: nn.Linear, layer: Layer, rows: Tensor) -> dict[str, float]:
    """Of one call: the mode's, its fallback's, the dense one's in the compute dtype; and "otherwise", that of
    the mode without its own cores, where it is tried on them. A package without a kernel for the card may
    compute the same in small steps: right, but slow.
    """
    names = ("milliseconds", "otherwise")
    calls: dict[str, Callable[[], Any]] = {
        name: partial(way, rows) for name, way in zip(names, ways, strict=False)
    }
    calls["peer_milliseconds"] = partial(peer, rows)
    calls["dense_milliseconds"] = partial(linear, rows, layer.weight.to(rows.dtype), layer.bias)
    return interleaved(calls)


def _parts(product: Tensor) -> Iterator[Tensor]:
    yield product
    yield product[-LAST_TOKENS:]
    yield from product.chunk(COLUMN_GROUPS, dim=1)


def _error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())
