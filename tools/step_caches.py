"""What each step cache saves and costs on the pocket model: python -m tools.step_caches.

One held-out speaker, the same seed and sound, made by the application with every step computed and then with
each cache at several thresholds. --docs writes the table into docs/quality.md.
"""

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tools.pocket.heldout.bench import Bench, plan_for, read_video
from tools.pocket.quality.measure import EXACT, Speakers, draw_speakers
from tools.pocket.training_run import psnr
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate

PAGE = Path(__file__).parents[1] / "docs" / "quality.md"
BEGIN, END = "<!-- step caches: begin -->", "<!-- step caches: end -->"
THRESHOLDS: Mapping[str, tuple[float, ...]] = {
    "teacache": (0.1, 0.2, 0.4),
    "magcache": (0.06, 0.12, 0.24),
    "first_block": (0.05, 0.1, 0.2),
}
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One video: its pixels (3, F, H, W), the forward passes that were computed, and the processor's seconds
    for the whole job: unlike those of a clock they do not depend on what else runs.
    """

    name: str
    video: Tensor
    passes: str
    seconds: float


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tools.step_caches", description=__doc__)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--docs", action="store_true", help="write the table into docs/quality.md")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(folder=Path(scratch), clips=1, voices=None, human=False, cache=ModelCache())
        speakers = draw_speakers(bench)
        text = table(speakers, list(runs(speakers, options.steps)))
    head = (
        f"One talking clip of {options.steps} steps, CPU threads: {torch.get_num_threads()}, torch "
        f"{torch.__version__.partition('+')[0]}: `python -m tools.step_caches --steps {options.steps} --docs`"
    )
    if options.docs:
        write_page(PAGE, f"{head}\n\n{text}")
    sys.stdout.write(f"{text}\n")


def runs(speakers: Speakers, steps: int) -> Iterator[Run]:
    """Every step computed, then each cache at its thresholds; the first run, which loads, is made twice."""
    make(speakers, "loading", steps, {})
    yield make(speakers, "off", steps, {})
    for name, thresholds in THRESHOLDS.items():
        for threshold in thresholds:
            options = {"step_cache": name, "step_cache_threshold": threshold}
            yield make(speakers, f"{name} {threshold:g}", steps, options)


def make(speakers: Speakers, name: str, steps: int, options: Mapping[str, Any]) -> Run:
    """The first speaker under those options."""
    asked = {**speakers.requests[0], "num_inference_steps": steps}
    output = speakers.bench.path(f"{name.replace(' ', '_')}.mp4")
    begun = time.process_time()
    made = generate(plan_for(asked, output, {**EXACT, **options}), speakers.bench.cache)
    seconds, effective = time.process_time() - begun, made.plan.effective()
    every = f"{steps * effective['passes_per_step']}"
    passes = effective.get("computed_passes", [f"{every} of {every}"])[0]
    log.info("%s: %s passes, %.1f s", name, passes, seconds)
    return Run(name=name, video=read_video(made.output), passes=passes, seconds=seconds)


def table(speakers: Speakers, made: list[Run]) -> str:
    """Markdown; the first run is the one that others are compared with."""
    lines = ["| cache, threshold | passes computed | processor (s) | PSNR (dB) | lip-sync |"]
    lines.append("|---|---|---|---|---|")
    exact = made[0]
    for run in made:
        near = "" if run is exact else f"{psnr(run.video[None], exact.video[None]):.1f}"
        sync = speakers.lip_sync([run.video])
        heard = "" if sync is None else f"{sync:.3f}"
        lines.append(f"| {run.name} | {run.passes} | {run.seconds:.1f} | {near} | {heard} |")
    return "\n".join(lines)


def write_page(path: Path, text: str) -> None:
    """Put the text between the marks of the page; what stands around them stays."""
    page = path.read_text(encoding="utf-8")
    before, after = page.partition(BEGIN)[0], page.partition(END)[2]
    path.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    main()
