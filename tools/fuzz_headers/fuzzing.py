"""One file: made by hypothesis, read, judged.

A file must be refused with a UserError, or be accepted and then load or be refused, within SECONDS, and
within MEMORY_BYTES of Python's memory until it is accepted.
"""

import contextlib
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tools.fuzz_headers.samples import Sample, gguf_samples, pickle_samples, safetensors_samples
from wanvideo.checkpoint import load
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.errors import UserError

SECONDS, MEMORY_BYTES = 5.0, 64 << 20
SAMPLES: dict[str, Callable[[], Iterator[Sample]]] = {
    "safetensors": safetensors_samples,
    "gguf": gguf_samples,
    "pickle": pickle_samples,
}
LOADERS: dict[str, Callable[[CheckpointFacts], Any]] = {
    "transformer": load.load_transformer,
    "vae": load.load_vae,
    "text_encoder": load.load_text_encoder,
    "image_encoder": load.load_image_encoder,
    "speech_encoder": load.load_speech_encoder,
}


class TooSlowError(BaseException):
    """No Exception, so that no reader takes it for a damaged file."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """What became of the files: `unloadable` were accepted and then refused. `last` is the one read last."""

    cases: int = 0
    refused: int = 0
    loaded: int = 0
    unloadable: int = 0
    peak_bytes: int = 0
    slowest: float = 0.0
    last: Path = Path()


@dataclass(frozen=True, slots=True, kw_only=True)
class Damaged:
    """A file to be written."""

    suffix: str
    content: bytes = field(repr=False)


@st.composite
def damaged(draw: st.DrawFn, samples: list[Sample]) -> Damaged:
    """Pieces replaced, repeated and dropped, bytes changed, the end cut off."""
    sample = draw(st.sampled_from(samples))
    pieces = list(sample.pieces)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, len(pieces)))
        other = draw(st.sampled_from(sample.odd) | st.sampled_from(sample.pieces) | st.binary(max_size=9))
        pieces[place : place + draw(st.integers(0, 2))] = [other] * draw(st.integers(0, 2))
    content = bytearray(sample.join(pieces))
    for _ in range(draw(st.integers(0, 2)) if content else 0):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    if draw(st.integers(0, 7)) == 7:
        del content[draw(st.integers(0, len(content))) :]
    return Damaged(suffix=sample.suffix, content=bytes(content))


def run(kind: str, folder: Path, tally: Tally, *, number: int, examples: int) -> None:
    """Check `examples` files of one kind. When this raises, `tally.last` is a smallest file that does."""

    @seed(number)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(damaged(list(SAMPLES[kind]())))
    def one(case: Damaged) -> None:
        tally.last = folder / f"model{case.suffix}"
        tally.last.write_bytes(case.content)
        check(tally.last, tally)

    one()


def check(path: Path, tally: Tally) -> None:
    """Inspect the file and load what is accepted. Raises whatever is no UserError, AssertionError for too
    much memory, TooSlowError.
    """
    started = time.monotonic()
    with time_limit():
        facts, peak = _inspected(path)
        is_loaded = facts is not None and _is_loaded(facts)
    tally.cases += 1
    tally.refused += facts is None
    tally.loaded += is_loaded
    tally.unloadable += facts is not None and not is_loaded
    tally.peak_bytes = max(tally.peak_bytes, peak)
    tally.slowest = max(tally.slowest, time.monotonic() - started)
    assert peak <= MEMORY_BYTES, f"{peak >> 20} MiB before the file was accepted"


@contextlib.contextmanager
def time_limit() -> Iterator[None]:
    """Raises TooSlowError within it after SECONDS. For the main thread."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise TooSlowError(f"longer than {SECONDS:g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _inspected(path: Path) -> tuple[CheckpointFacts | None, int]:
    """(facts, or None for a refused file; the peak of Python's memory)."""
    tracemalloc.start()
    try:
        return inspect_checkpoint(path), tracemalloc.get_traced_memory()[1]
    except UserError:
        return None, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _is_loaded(facts: CheckpointFacts) -> bool:
    try:
        if facts.component in LOADERS:
            LOADERS[facts.component](facts)
    except UserError:
        return False
    return True
