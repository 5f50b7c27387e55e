"""Forward passes of the 14B model against stock diffusers, and against what the card can multiply."""

from dataclasses import replace
from functools import partial

from benchmarks.forwards import EXACT_KINDS, Forwards, Timed, away_from_fp32
from benchmarks.random_model import TINY, WAN_14B
from benchmarks.target_row import (
    Bench,
    Found,
    Goal,
    Target,
    Unmeasured,
    pocket_quality,
    ratio_at_least,
)
from wanvideo.known_cards import card_of

FAST_MODE = "fp8_e4m3fn_scaled_fast"
SIZES = {  # 81 frames: 32,760 and 75,600 tokens
    "480p": WAN_14B,
    "720p": replace(WAN_14B, latents=(16, 21, 90, 160)),
}
TINY_SIZES = {"480p": TINY, "720p": replace(TINY, latents=(16, 3, 8, 12))}
FEW_BLOCKS = replace(WAN_14B, layers=2, latents=(16, 5, 60, 104))  # fits a card in fp32, too
STOCK = "stock diffusers WanTransformer3DModel, bf16, native SDPA"
BF16, BF16_480 = "bf16 exact, compiled", "forward 480p bf16"
FP8, FP8_480 = f"{FAST_MODE}, compiled", "forward 480p fp8"
# Of its published dense bf16 peak a card reaches so much in the matrix products of this model: 790 of 989
# TFLOP/s on an H200.
ROOFLINE_SHARE = 790 / 989


def _forwards(bench: Bench, name: str) -> Forwards:
    size = TINY_SIZES[name] if bench.quick else SIZES[name]
    return bench.keep(f"forward {name}", lambda: Forwards(size, bench.machine))


def _found(forwards: Forwards, ours: Timed, quality: str, how: str) -> Found:
    stock = forwards.stock()
    peaks = [one.peak_gib for one in (ours, stock) if one.peak_gib is not None]
    reserved = f"; peak {peaks[0]:.1f} GiB, stock {peaks[1]:.1f}" if peaks else ""
    return Found(
        value=ours.ms, unit="ms", peer=stock.ms, ratio=stock.ms / ours.ms, quality=quality, how=how + reserved
    )


def _exact(bench: Bench, size: str, *, compiled: bool) -> Found:
    forwards = _forwards(bench, size)
    stock, ours = forwards.stock(), forwards.exact(compiled=compiled)
    quality = f"relative L2 {ours.away_from(stock):.1e} to stock"
    if compiled and size == next(iter(SIZES)):
        own, theirs = away_from_fp32(TINY if bench.quick else FEW_BLOCKS)
        quality += f"; two blocks against fp32: {own:.2e}, stock {theirs:.2e}"
    told = forwards.attention(only_required=False, kinds=EXACT_KINDS).told
    how = BF16 if compiled else "bf16 exact, not compiled"
    return _found(forwards, ours, quality, f"{how}; attention: {told}")


def _low(bench: Bench, size: str, *, only_required: bool) -> Found:
    forwards = _forwards(bench, size)
    stock = forwards.stock()  # first: the dense model makes way for the quantized one
    ours = forwards.low(FAST_MODE, only_required=only_required)
    quality = f"relative L2 {ours.away_from(stock):.1e} to stock bf16; {pocket_quality(FAST_MODE)}"
    told = forwards.attention(only_required=only_required).told
    return _found(forwards, ours, quality, f"{FP8}; attention: {told}")


def _roofline(bench: Bench, of: str) -> Found:
    """From the row's time. Raises Unmeasured for a card whose peak is not known."""
    spent = bench.row(of)["value"]
    name = bench.machine.gpus[0].name if bench.machine.gpus else ""
    card = card_of(name)
    if card is None:
        raise Unmeasured(f"the peak of {name or 'this machine'} is not known")
    forwards = _forwards(bench, next(iter(SIZES)))
    reached, roof = forwards.flops() / spent / 1e9, card.tflops * ROOFLINE_SHARE
    how = f"{forwards.flops() / 1e12:.0f} TFLOP a forward, linears and attention"
    return Found(value=reached, unit="TFLOP/s", peer=roof, ratio=reached / roof, how=how)


def _at_least(limit: float, more: str = "") -> Goal:
    return Goal(text=f">= {limit:g} x as fast{more}", is_met=ratio_at_least(limit))


def _of_roof(limit: float) -> Goal:
    return Goal(text=f">= {limit:g} of the roofline", is_met=ratio_at_least(limit))


def _of_size(size: str, goals: dict[str, Goal | None]) -> tuple[Target, ...]:
    measures = {
        "bf16 eager": partial(_exact, size=size, compiled=False),
        "bf16": partial(_exact, size=size, compiled=True),
        "fp8 required": partial(_low, size=size, only_required=True),
        "fp8": partial(_low, size=size, only_required=False),
    }
    return tuple(
        Target(name=f"forward {size} {what}", measure=measures[what], goal=goal, peer=STOCK)
        for what, goal in goals.items()
    )


TARGETS = (
    *_of_size(
        "480p",
        {
            "bf16 eager": None,
            "bf16": _at_least(1.25, " (<= 2.5 s on an H200)"),
            "fp8 required": _at_least(1.4),
            "fp8": _at_least(1.7),
        },
    ),
    *(
        Target(
            name=f"roofline {bits}",
            measure=partial(_roofline, of=of),
            goal=_of_roof(limit),
            peer=f"bf16 products as fast as {ROOFLINE_SHARE:.0%} of the published peak",
            needs=(of,),
        )
        for bits, of, limit in (("bf16", BF16_480, 0.85), ("8 bits", FP8_480, 1.15))
    ),
    *_of_size("720p", {"bf16": None, "fp8 required": None, "fp8": _at_least(1.6)}),
)
