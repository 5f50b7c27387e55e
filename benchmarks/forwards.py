"""Forward passes of one model over one size of video: stock diffusers, ours in bf16, ours in 8 bits."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from benchmarks.candidates import EXACT as EXACT_KIND
from benchmarks.measuring import device, errors, milliseconds, peak_gib, phase, reset_peak
from benchmarks.modes import REPEATS, TIMESTEP, _inputs
from benchmarks.quickest_attention import DENSE_KINDS, Quickest, middle_place, quickest
from benchmarks.random_model import ModelSize, build
from benchmarks.stock import StockCall, stock_transformer
from benchmarks.target_row import Unmeasured
from wanvideo.compiled_blocks import compiled_blocks
from wanvideo.geometry import FRAME_STEP
from wanvideo.hardware import Hardware
from wanvideo.memory.flops import forward_flops
from wanvideo.memory.sizes import ModelSizes
from wanvideo.memory.work import Job, Work
from wanvideo.models.transformer import WanTransformer
from wanvideo.models.vae_tiles import CELL
from wanvideo.registry import AttentionFunction, attention_backends, quantization_modes

DENSE = next(mode.name for mode in quantization_modes().values() if mode.store is None)
EXACT_KINDS = (EXACT_KIND,)
log = logging.getLogger("benchmarks")
EXACT = next(row for row in attention_backends().values() if row.fallback is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """Milliseconds of a forward pass, its output (1, 16, T, h, w), the most that was reserved meanwhile."""

    ms: float
    output: Tensor
    peak_gib: float | None

    def away_from(self, other: "Timed") -> float:
        """Relative L2 of the outputs."""
        return errors(self.output.flatten(2).float(), other.output.flatten(2).float())["relative_l2"]


class Forwards:
    """Each is measured once. The dense model is built once, for the peer and for ours; a quantized one takes
    its place.
    """

    def __init__(self, size: ModelSize, machine: Hardware) -> None:
        self._size, self._machine = size, machine
        self._latents, self._prompt = _inputs(size)
        self._dense: WanTransformer | None = None
        self._low: tuple[str, WanTransformer] | None = None
        self._done: dict[str, Timed] = {}
        self._chosen: dict[tuple[bool, tuple[str, ...]], Quickest] = {}

    def stock(self) -> Timed:
        """Diffusers' transformer in bf16 with its native attention."""
        return self._once("stock", self._time_stock)

    def exact(self, *, compiled: bool) -> Timed:
        """Ours in bf16, with the quickest exact attention."""
        attend = self.attention(only_required=False, kinds=EXACT_KINDS).attend
        name = "compiled" if compiled else "eager"
        return self._once(name, lambda: self._time(self._model(), attend, compiled=compiled))

    def low(self, mode: str, *, only_required: bool) -> Timed:
        """Ours with big linears in that mode, compiled, with the quickest attention. Raises Unmeasured for a
        card that the mode does not run on.
        """
        chosen = self.attention(only_required=only_required)
        name = f"{mode} {chosen.attend.__qualname__}"
        return self._once(name, lambda: self._time_low(mode, chosen.attend))

    def attention(self, *, only_required: bool, kinds: tuple[str, ...] = DENSE_KINDS) -> Quickest:
        """The quickest of those kinds at this size."""
        key = only_required, kinds
        if key not in self._chosen:
            given = (self._machine, self._size, self._latents)
            self._chosen[key] = quickest(*given, only_required=only_required, kinds=kinds)
        return self._chosen[key]

    def flops(self) -> float:
        """Floating-point operations of the blocks in one forward pass."""
        _, frames, height, width = self._size.latents
        work = Work(frames=(frames - 1) * FRAME_STEP + 1, height=height * CELL, width=width * CELL)
        dim = self._size.config()["attention_head_dim"] * self._size.heads
        sizes = ModelSizes(
            dim=dim, ffn_dim=self._size.ffn_dim, itemsize=2, blocks=self._size.layers, block=0, outside=0
        )
        return forward_flops(Job(work=work, sizes=sizes, backend=EXACT))

    @torch.no_grad()
    def _once(self, name: str, measure: Callable[[], Timed]) -> Timed:
        if name not in self._done:
            with phase(name):
                self._done[name] = measure()
        return self._done[name]

    def _model(self) -> WanTransformer:
        if self._dense is None:
            self._low = None
            self._dense, _ = build(self._size, quantization_modes()[DENSE])
        return self._dense

    def _time_stock(self) -> Timed:
        model = stock_transformer(self._size, self._model())
        return timed(StockCall(model=model, latents=self._latents, prompt=self._prompt, timestep=TIMESTEP))

    def _time_low(self, name: str, attend: AttentionFunction) -> Timed:
        mode = quantization_modes()[name]
        reason = mode.unavailable_reason(self._machine) if device() == "cuda" else None
        if reason is not None:
            raise Unmeasured(reason)
        self._dense = None
        if self._low is None or self._low[0] != name:
            self._low = None
            reset_peak()
            self._low = name, build(self._size, mode)[0]
        return self._time(self._low[1], attend, compiled=True)

    def _time(self, model: WanTransformer, attend: AttentionFunction, *, compiled: bool) -> Timed:
        model.set_attention(lambda _: attend, middle_place(self._latents))
        with as_compiled(model) if compiled else nullcontext():
            return timed(our_call(model, self._latents, self._prompt))


def as_compiled(model: WanTransformer) -> AbstractContextManager[None]:
    """Its blocks are compiled meanwhile; at tiny size on a CPU by a backend that needs no compiler."""
    backend = "inductor" if device() == "cuda" else "eager"
    return compiled_blocks(model.blocks, log.info, backend=backend, falls_back=False)


def our_call(model: WanTransformer, latents: Tensor, prompt: Tensor) -> Callable[[], Tensor]:
    """A forward pass; prompt and rotary table are embedded beforehand, as once for a window."""
    context, rotary = model.embed_context(prompt), model.rotary(latents)
    timestep = torch.full((1,), TIMESTEP, device=latents.device)
    return partial(model, latents, timestep, context, rotary=rotary)  # type: ignore[misc]


def timed(call: Callable[[], Tensor]) -> Timed:
    """The first call, which may compile, gives the output; one more warms up."""
    reset_peak()
    output = call().float()
    spent = milliseconds(call, warm_ups=1, repeats=REPEATS)
    return Timed(ms=spent, output=output, peak_gib=peak_gib())


@torch.no_grad()
def away_from_fp32(size: ModelSize) -> tuple[float, float]:
    """Relative L2 of (ours compiled, stock), both in bf16, against ours in fp32 over the same weights and
    inputs.
    """
    model, _ = build(size, quantization_modes()[DENSE])
    latents, prompt = _inputs(size)
    model.set_attention(EXACT.load, middle_place(latents))
    stock = StockCall(model=stock_transformer(size, model), latents=latents, prompt=prompt, timestep=TIMESTEP)
    theirs = stock()
    with as_compiled(model):
        ours = our_call(model, latents, prompt)()
    model.float()
    exact = our_call(model, latents, prompt)().flatten(2)
    away = [errors(output.flatten(2).float(), exact)["relative_l2"] for output in (ours, theirs)]
    return away[0], away[1]
