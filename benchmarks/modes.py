"""All quantization modes on a transformer of the 14B model's size: memory, time of a forward pass, error."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from benchmarks.measuring import GIB, device, errors, milliseconds, peak_gib, reset_peak, wait
from benchmarks.random_model import DTYPE, TINY, WAN_14B, ModelSize, build
from benchmarks.report import REASON, Report, Row
from wanvideo.hardware import Hardware
from wanvideo.models.transformer import TEXT_TOKENS, WanTransformer, token_grid
from wanvideo.quantization.linear import QLinear
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import AttentionPlace, QuantizationMode, attention_backends, quantization_modes

REPEATS = 3  # after the call that gives the output
TIMESTEP = 500.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """A mode under its name; `reason`: why this machine can't run it."""

    name: str
    mode: QuantizationMode
    reason: str | None


class Modes:
    """Measures one mode after the other; the first, which stores dense weights, is what others differ
    from.
    """

    def __init__(self, size: ModelSize) -> None:
        self._size = size
        self._reference: Tensor | None = None

    @torch.no_grad()
    def measure(self, variant: Variant) -> Row:
        """Sizes, times, and the error of the output. Raises what the card raises."""
        if variant.reason is not None:
            return {REASON: variant.reason}
        reset_peak()
        begun = time.perf_counter()
        model, weights = build(self._size, variant.mode)
        wait()
        row: Row = {
            "dense": variant.mode.store is None,
            "multiplies": multiplies(model),
            "linears_gib": _gib(model, big=True),
            "model_gib": _gib(model, big=True) + _gib(model, big=False),
            "seconds_to_quantize": time.perf_counter() - begun - weights.seconds,
            "peak_building_gib": peak_gib(),
        }
        return row | self._forward(model, is_reference=row["dense"])

    def _forward(self, model: WanTransformer, *, is_reference: bool) -> Row:
        latents, prompt = _inputs(self._size)
        attention = _set_exact_attention(model, latents)
        context, rotary = model.embed_context(prompt), model.rotary(latents)
        timestep = torch.full((1,), TIMESTEP, device=device())

        def call() -> Tensor:
            return model(latents, timestep, context, rotary=rotary)  # type: ignore[no-any-return]

        reset_peak()
        output = call()
        if is_reference:
            self._reference = output.flatten(2).clone()
        differs = {} if self._reference is None else errors(output.flatten(2), self._reference)
        spent = milliseconds(call, warm_ups=0, repeats=REPEATS)
        return {"ms": spent, "peak_forward_gib": peak_gib(), **differs, "attention": attention}


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """A row for each mode. What others are compared with is measured in every process."""
    modes = Modes(TINY if quick else WAN_14B)
    for variant in variants(machine, only):
        key = {"mode": variant.name}
        again = not report.failed(key) if variant.mode.store is None else not report.has(key)
        if again:
            report.add(key, partial(modes.measure, variant))


def variants(machine: Hardware, only: list[str]) -> Iterator[Variant]:
    """Every mode, and where it has tensor cores of its own once more with them. Dense weights come first, as
    the others are compared with them; they are never left out.
    """
    for mode in sorted(quantization_modes().values(), key=lambda mode: mode.store is not None):
        if only and mode.store is not None and mode.name not in only:
            continue
        yield Variant(name=mode.name, mode=mode, reason=mode.unavailable_reason(machine))
        if mode.cores is not None:
            yield Variant(
                name=f"{mode.name}, {mode.cores.title}",
                mode=replace(mode, make_linear=mode.cores.make_linear),
                reason=mode.unavailable_reason(machine) or mode.cores.unavailable_reason(machine),
            )


def path_of(linear: nn.Module) -> str:
    """The name of what it really multiplies with."""
    return linear.multiply.__name__ if isinstance(linear, QLinear) else type(linear).__name__


def multiplies(model: nn.Module) -> dict[str, int]:
    """What the big linears really run -> how many do."""
    return dict(
        Counter(path_of(linear) for name, linear in model.named_modules() if is_quantized_linear(name))
    )


def _gib(model: nn.Module, *, big: bool) -> float:
    """Of the big linears with scales and biases, or of all else."""
    bytes_of = (
        tensor.numel() * tensor.element_size()
        for name, tensor in model.named_parameters()
        if is_quantized_linear(name.rpartition(".")[0]) == big
    )
    return sum(bytes_of) / GIB


def _inputs(size: ModelSize) -> tuple[Tensor, Tensor]:
    """Latents (1, 16, T, height, width) and prompt rows (1, 512, text_dim)."""
    generator = torch.Generator(device()).manual_seed(0)
    latents = torch.randn(1, *size.latents, generator=generator, device=device())
    prompt = torch.randn(1, TEXT_TOKENS, size.text_dim, generator=generator, device=device())
    return latents, prompt.to(DTYPE)


def _set_exact_attention(model: WanTransformer, latents: Tensor) -> str:
    """The fastest exact one; its name."""
    exact = next(row for row in attention_backends().values() if row.fallback is None)
    frames, rows, columns = token_grid(latents)
    place = AttentionPlace(frames=frames, frame_tokens=rows * columns)
    model.set_attention(exact.load, place)
    return exact.load(place).__qualname__
