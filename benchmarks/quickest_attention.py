"""The attention of a fast forward pass: of those that are installed, the quickest at that very size."""

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch import Tensor

from benchmarks.candidates import EIGHT_BITS, EXACT, SPARSE, Candidate, candidates
from benchmarks.measuring import milliseconds, reset_peak
from benchmarks.random_model import DTYPE, ModelSize
from benchmarks.report import short_reason
from wanvideo.attention import sdpa
from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.models.transformer import token_grid
from wanvideo.proof.attention_trial import Shape, make_tensors
from wanvideo.registry import AttentionFunction, AttentionPlace

REQUIREMENTS = Path(__file__).parents[1] / "requirements.txt"
STEPS = 40
REPEATS = 3
DENSE_KINDS = (EXACT, EIGHT_BITS)
TORCH = {row.name for row in sdpa.BACKENDS}
PLACE = AttentionPlace(frames=1, frame_tokens=1)  # dense attention is the same everywhere
log = logging.getLogger("benchmarks")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quickest:
    """The function, and of each that was tried the milliseconds, or what it failed with, by the name of what
    computes it.
    """

    attend: AttentionFunction
    tried: dict[str, float | str]

    @property
    def told(self) -> str:
        """The chosen one, and the time of each."""
        times = [
            f"{name} {spent:.1f} ms" if isinstance(spent, float) else f"{name} failed: {spent}"
            for name, spent in self.tried.items()
        ]
        return f"{self.attend.__qualname__} of {', '.join(times)}"


def middle_place(latents: Tensor) -> AttentionPlace:
    """A step in the middle, where no backend makes an exception."""
    frames, rows, columns = token_grid(latents)
    return AttentionPlace(step=STEPS // 2, steps=STEPS, frames=frames, frame_tokens=rows * columns)


def quickest(
    machine: Hardware,
    size: ModelSize,
    latents: Tensor,
    *,
    only_required: bool,
    kinds: tuple[str, ...] = DENSE_KINDS,
) -> Quickest:
    """Of dense attention of those `kinds`. `only_required`: of what torch and the packages of
    requirements.txt bring.
    """
    place = middle_place(latents)
    shape = Shape(frames=place.frames, frame_tokens=place.frame_tokens, heads=size.heads, head_dim=128)
    tensors = make_tensors(shape, DTYPE, str(latents.device))
    tried: dict[str, float | str] = {}
    times: dict[AttentionFunction, float] = {}
    for attend, kind, is_required in _functions(machine):
        if kind not in kinds or (only_required and not is_required):
            continue
        try:
            times[attend] = milliseconds(partial(attend, *tensors), warm_ups=1, repeats=REPEATS)
            tried[attend.__qualname__] = times[attend]
        except RuntimeError as error:  # of a foreign kernel: it is said, and another is chosen
            tried[attend.__qualname__] = short_reason(error)
    del tensors
    reset_peak()
    return Quickest(attend=min(times, key=lambda attend: times[attend]), tried=tried)


@cache
def _functions(machine: Hardware) -> tuple[tuple[AttentionFunction, str, bool], ...]:
    """(function, its kind, whether its package is required) of every dense candidate that loads; each is
    loaded once in a process, as a custom op can't be registered twice.
    """
    found = []
    for candidate in _dense(machine):
        try:
            attend = candidate.load(PLACE)
        except UserError as error:
            log.info("    %s: %s", candidate.backend, error)
            continue
        package = attend.__qualname__.partition(".")[0]
        is_required = candidate.backend in TORCH or package in _required_packages()
        found.append((attend, candidate.kind, is_required))
    return tuple(found)


def _dense(machine: Hardware) -> Iterator[Candidate]:
    """Exact or in 8 bits, by each provider; of torch's own kernels the application's choice alone."""
    for candidate in candidates(machine):
        is_other_kernel = candidate.backend in TORCH and bool(candidate.provider)
        is_dense = candidate.backend not in SPARSE and candidate.kind in DENSE_KINDS
        if is_dense and not is_other_kernel and candidate.reason is None:
            yield candidate


def _required_packages() -> set[str]:
    """As they are imported."""
    names = re.findall(r"^([\w-]+)==", REQUIREMENTS.read_text("utf-8"), re.MULTILINE)
    return {name.replace("-", "_") for name in names}
