"""What a step cache saves at the size of the 14B model: the operations of a pass that is left out beside
those of one that is computed, which need no card, and on a card the milliseconds of both.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property, partial
from statistics import median

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.forwards import DENSE, EXACT_KINDS, as_compiled
from benchmarks.measuring import GIB, device, milliseconds, phase
from benchmarks.modes import _inputs
from benchmarks.quickest_attention import middle_place, quickest
from benchmarks.random_model import TINY, WAN_14B, ModelSize, build
from benchmarks.report import Report, Row
from wanvideo.hardware import Hardware
from wanvideo.models.block_reuse import Reuse
from wanvideo.models.passes import Pass
from wanvideo.models.transformer import TEXT_TOKENS, WanTransformer, token_grid
from wanvideo.registry import quantization_modes
from wanvideo.sampling.guidance import Branch
from wanvideo.step_cache.published import T2V
from wanvideo.step_cache.row import StepCache, StepCachePlan, Steps
from wanvideo.step_cache.table import step_caches
from wanvideo.step_cache.window import open_cache

SERIES = Steps(run=range(8), total=8)  # whatever a cache says, its first and last steps are computed
USUAL = Steps(run=range(40), total=40)
NONE_LEFT_OUT, ALL_LEFT_OUT = 0.0, 1e9  # thresholds
ITEMSIZE = 2
TERA = 1e12


class Costs:
    """Measures one cache after the other on the same model."""

    def __init__(self, machine: Hardware, size: ModelSize, *, runs: bool) -> None:
        """`runs`: this machine can run a model of that size."""
        self._machine, self._size, self._runs = machine, size, runs
        self._latents, self._prompt = _inputs(size)

    def measure(self, cache: StepCache) -> Row:
        """What it keeps for each pass of a step, the work of both kinds of passes, how many of the usual
        steps are computed at its default where that is known, and how many times as fast that is.
        """
        outside, block = self._operations
        model = build(replace(TINY, layers=1), quantization_modes()[DENSE])[0]
        lead = next(self._series(cache, NONE_LEFT_OUT, model)).lead
        grid = token_grid(self._latents)
        state = grid[0] * grid[1] * grid[2] * self._size.heads * 128 * ITEMSIZE
        row: Row = {
            "kept_gib": cache.kept * state / GIB,
            "computed_tflop": (outside + self._size.layers * block) / TERA,
            "left_out_tflop": (outside + lead * block) / TERA,
            **(self._times(cache) if self._runs else {}),
        }
        known = cache.known(StepCachePlan(name=cache.name, threshold=cache.threshold(T2V), model=T2V), USUAL)
        return row if known is None else row | {"steps": sum(known), "faster": _faster(row, known)}

    @cached_property
    def _operations(self) -> tuple[int, int]:
        """Floating-point operations (outside of the blocks, of one block), counted over tensors without
        values.
        """
        counted = []
        for layers in (0, 1):
            with torch.device("meta"):
                model = WanTransformer(**replace(self._size, layers=layers).config()).to(torch.bfloat16)
                latents = torch.empty((1, *self._size.latents))
                context = model.embed_context(torch.empty(1, TEXT_TOKENS, self._size.text_dim))
                timestep = torch.empty(1)
            with FlopCounterMode(display=False) as counter:
                model(latents, timestep, context)
            counted.append(counter.get_total_flops())
        return counted[0], counted[1] - counted[0]

    @cached_property
    def _model(self) -> WanTransformer:
        model, _ = build(self._size, quantization_modes()[DENSE])
        given = (self._machine, self._size, self._latents)
        attend = quickest(*given, only_required=False, kinds=EXACT_KINDS).attend
        model.set_attention(lambda _: attend, middle_place(self._latents))
        return model

    @torch.no_grad()
    def _times(self, cache: StepCache) -> Row:
        """Milliseconds of a pass without a cache, of a computed one and of one that is left out."""
        model = self._model
        context, rotary = model.embed_context(self._prompt), model.rotary(self._latents)
        timestep = _timesteps()[:1]

        def spent(reuse: Reuse | None) -> float:
            passes = [Pass(context, reuse=reuse)]
            call = partial(model.forward_passes, self._latents, timestep, passes, rotary=rotary)
            return milliseconds(call, warm_ups=0, repeats=1)

        times: dict[bool, list[float]] = {True: [], False: []}
        with as_compiled(model), phase(cache.name):
            plain = [spent(None) for _ in SERIES.run][1:]
            for threshold in (NONE_LEFT_OUT, ALL_LEFT_OUT):
                for reuse in self._series(cache, threshold, model):
                    before = reuse.computed
                    took = spent(reuse)
                    times[reuse.computed > before].append(took)
        return {"ms": median(plain), "computed_ms": median(times[True]), "left_out_ms": median(times[False])}

    def _series(self, cache: StepCache, threshold: float, model: WanTransformer) -> Iterator[Reuse]:
        """The state of a branch, at the beginning of each step."""
        plan = StepCachePlan(name=cache.name, threshold=threshold)
        window = open_cache(plan, SERIES, model, _timesteps())
        for _ in window.watch(SERIES.run):
            reuse = window.reuse(Branch())
            assert reuse is not None
            yield reuse


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """A row for each cache. `only`: their names."""
    costs = Costs(machine, TINY if quick else WAN_14B, runs=quick or device() == "cuda")
    for name, cache in step_caches().items():
        if (not only or name in only) and not report.has({"cache": name}):
            report.add({"cache": name}, partial(costs.measure, cache))


def _timesteps() -> Tensor:
    return torch.linspace(1000, 0, SERIES.total + 1, device=device())[:-1]


def _faster(row: Row, known: tuple[bool, ...]) -> float:
    """The usual steps without the cache beside those with it: by the clock, else by operations."""
    plain, computed, left_out = (
        (row["ms"], row["computed_ms"], row["left_out_ms"])
        if "ms" in row
        else (row["computed_tflop"], row["computed_tflop"], row["left_out_tflop"])
    )
    return len(known) * plain / (sum(known) * computed + (len(known) - sum(known)) * left_out)
