"""The same job again and again in one process: what stays in memory, and whether each video is one."""

import statistics
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.measuring import GIB, device, host_gib, phase, wait
from benchmarks.one_job import Job, has_contrast, plan_of
from benchmarks.random_files import write_files
from benchmarks.random_sizes import TALK_ENCODERS
from benchmarks.report import REASON, Report, Row
from benchmarks.whole_jobs import MODE, PICTURE, SPEECH, TINY_FRAMES, TINY_MOTION, TINY_SIZE
from wanvideo.hardware import Hardware
from wanvideo.model_cache import open_cache
from wanvideo.pipeline import generate
from wanvideo.request import TALK

PRESET = "infinitetalk_workflow"  # fp4_scaled, sageattn_3_fp4, 40 blocks, 16 streams, threshold 80, dpm++_sde
GENERATIONS, CHECKED, SETTLING = 20, 3, 3
TINY_GENERATIONS, TINY_CHECKED = 5, 1
SIZE, FRAMES, MOTION = (640, 640), 17, 9
WHAT = ("generation", "with layout checks")


class Repeated:
    """One cache, one job; each time another seed."""

    def __init__(self, files: Path, machine: Hardware, *, quick: bool) -> None:
        self._files, self._quick, self._cache = files, quick, open_cache(machine)

    def measure(self, index: int, *, checked: bool) -> Row:
        """Make the video once more."""
        with phase("writing files that are not there"):
            names = ("i2v_14b", "infinitetalk", *TALK_ENCODERS)
            paths = write_files(names, self._files, MODE, quick=self._quick)
        job = _job(paths["i2v_14b"], quick=self._quick)
        changes = {**job.changes, "seed": index, "force_contiguous_tensors": checked}
        output = Path(job.output).with_stem(f"twenty_{index}_{checked}")
        output.unlink(missing_ok=True)
        plan = plan_of(replace(job, changes=changes, output=str(output)))
        result = generate(plan, self._cache)
        wait()
        return {
            "seconds": result.seconds,
            "finite": has_contrast(result),
            **_memory(),
            "attention": plan.attention,
            "swapped": plan.memory.transformer.blocks,
            "notes": list(result.plan.notes) if index == 0 else None,
        }


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:  # noqa: ARG001 - a part
    """A row for each generation, and one for the growth over all but the first. In one process: rows that are
    there already are made anew.
    """
    repeated = Repeated(report.files, machine, quick=quick)
    counts = (TINY_GENERATIONS, TINY_CHECKED) if quick else (GENERATIONS, CHECKED)
    for what, count, checked in zip(WHAT, counts, (False, True), strict=True):
        for index in range(count):
            report.add({"what": what, "index": index}, partial(repeated.measure, index, checked=checked))
    report.add({"what": "growth", "index": counts[0]}, lambda: growth(report.rows))


def growth(rows: list[Row]) -> Row:
    """Of the last generation over the first that is settled, and all of them together. Raises ValueError when
    one has no figures.
    """
    made = [row for row in rows if row["what"] == WHAT[0]]
    if any(REASON in row for row in made):
        raise ValueError("not every generation has figures")
    first, last = made[SETTLING], made[-1]
    grown = {f"{name}_grown": _less(last[name], first[name]) for name in ("host_own_gib", "card_gib")}
    return {
        **grown,
        "finite": all(row["finite"] for row in made),
        "seconds": statistics.median(row["seconds"] for row in made[SETTLING:]),
    }


def _less(last: float | None, first: float | None) -> float | None:
    return None if last is None or first is None else last - first


def _job(transformer: Path, *, quick: bool) -> Job:
    width, height = TINY_SIZE if quick else SIZE
    frames, motion = (TINY_FRAMES, TINY_MOTION) if quick else (FRAMES, MOTION)
    changes: dict[str, Any] = {
        "model": transformer.stem,
        "models_dir": str(transformer.parent),
        "prompt": "the same again",
        "image": PICTURE,
        "audio": [SPEECH],
        "width": width,
        "height": height,
        "num_frames": frames,
        "window_frames": frames,
        "motion_frames": motion,
    }
    return Job(task=TALK, preset=PRESET, output=str(transformer.parent / "twenty.mp4"), changes=changes)


def _memory() -> Row:
    """GiB after a job: of the process in main memory, and what it has on the card, used and reserved."""
    own, whole = host_gib()
    on_card = device() == "cuda"
    return {
        "host_own_gib": own,
        "host_whole_gib": whole,
        "card_gib": torch.cuda.memory_allocated() / GIB if on_card else None,
        "card_reserved_gib": torch.cuda.memory_reserved() / GIB if on_card else None,
    }
