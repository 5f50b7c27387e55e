"""Attention at Wan's shapes: every backend of the table, by each of its providers, against fp32."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from benchmarks.candidates import LIMITS, Candidate, candidates
from benchmarks.measuring import device, errors, exact_attention, milliseconds, reset_peak
from benchmarks.report import REASON, Report, Row
from wanvideo.hardware import Hardware
from wanvideo.proof.attention_trial import Shape, make_tensors
from wanvideo.registry import AttentionPlace

BLOCKS = STEPS = 40
WAN = (  # heads of the 14B model; 4,096 tokens, and 81 frames of 832 x 480
    Shape(frames=16, frame_tokens=256, heads=40, head_dim=128),
    Shape(frames=21, frame_tokens=1560, heads=40, head_dim=128),
)
TINY = (Shape(frames=16, frame_tokens=64, heads=2, head_dim=128),)
Tensors = tuple[Tensor, Tensor, Tensor]


class Case:
    """What all candidates are given: tensors (1, tokens, heads, head_dim) in bf16, and the exact result."""

    def __init__(self, shape: Shape, kind: str) -> None:
        self.shape, self.kind = shape, kind
        self.tokens = shape.frames * shape.frame_tokens
        self.place = AttentionPlace(  # in the middle, where no backend makes an exception
            block=BLOCKS // 2,
            blocks=BLOCKS,
            step=STEPS // 2,
            steps=STEPS,
            frames=shape.frames,
            frame_tokens=shape.frame_tokens,
        )
        self.tensors = KINDS[kind](shape, torch.bfloat16, device())
        self._dense: Tensor | None = None

    def exact(self, candidate: Candidate) -> tuple[Tensor, float]:
        """(result in fp32, share of the scores that it is made of); a sparse candidate has its own."""
        seen = candidate.seen(self.place)
        if seen is not None:
            return exact_attention(*self.tensors, seen), int(seen.count_nonzero()) / seen.numel()
        if self._dense is None:
            self._dense = exact_attention(*self.tensors)
        return self._dense, 1.0


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """A row for each backend, provider, shape and kind of tensors."""
    chosen = [found for found in candidates(machine) if not only or found.backend in only]
    for shape in TINY if quick else WAN:
        for kind in KINDS:
            _run_case(report, Case(shape, kind), chosen)
            reset_peak()


def _run_case(report: Report, case: Case, chosen: list[Candidate]) -> None:
    for candidate in chosen:
        key = {
            "backend": candidate.backend,
            "provider": candidate.provider or "the application's choice",
            "tokens": case.tokens,
            "tensors": case.kind,
        }
        if not report.has(key):
            report.add(key, partial(_measure, candidate, case))


@torch.no_grad()
def _measure(candidate: Candidate, case: Case) -> Row:
    """Right first, then how fast."""
    if candidate.reason is not None:
        return {REASON: candidate.reason}
    attend = candidate.load(case.place)
    exact, share = case.exact(candidate)
    before = [states.clone() for states in case.tensors]
    found = errors(attend(*case.tensors), exact)
    unchanged = all(map(torch.equal, case.tensors, before))
    del before, exact
    limit = LIMITS[candidate.kind][list(KINDS).index(case.kind)]
    spent = milliseconds(lambda: attend(*case.tensors))
    operations = 4 * case.tokens**2 * case.shape.heads * case.shape.head_dim * share
    return {
        "computed_by": attend.__qualname__,
        "kind": candidate.kind,
        "share": share,
        **found,
        "limit": limit,
        "inputs_unchanged": unchanged,
        "passed": unchanged and found["relative_l2"] <= limit,
        "ms": spent,
        "tflops": operations / spent / 1e9,
    }


def random_tensors(shape: Shape, dtype: torch.dtype, where: str) -> Tensors:
    """Standard normal (1, tokens, heads, head_dim): attention comes near to one mean for all queries."""
    size = (3, 1, shape.frames * shape.frame_tokens, shape.heads, shape.head_dim)
    generator = torch.Generator(where).manual_seed(0)
    query, key, value = torch.randn(size, generator=generator, dtype=dtype, device=where).unbind()
    return query, key, value


KINDS: dict[str, Callable[[Shape, torch.dtype, str], Tensors]] = {
    "realistic": make_tensors,
    "random": random_tensors,
}
