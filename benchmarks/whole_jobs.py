"""Whole jobs on random files of the published sizes, encoders and VAE included, each in a process of its own
whose memory on the card is capped.
"""

import json
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measuring import phase, reset_peak
from benchmarks.one_job import Job, as_json
from benchmarks.random_files import write_files
from benchmarks.random_sizes import ENCODERS, PICTURE_ENCODERS, PUBLISHED_FILES, TALK_ENCODERS
from benchmarks.report import Report, Row
from wanvideo.hardware import Hardware
from wanvideo.prepare import PROJECT
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO

MODE = "fp8_e4m3fn_scaled"  # of the files
STEPS, FRAMES, MOTION = 2, 81, 9
LONGEST_SECONDS = 400
TIERS = {8: "tier_8gb", 12: "tier_12gb", 16: "tier_16gb", 24: "tier_24gb"}  # GiB of the card -> its preset
PICTURE, SPEECH = str(PROJECT / "examples" / "girl.png"), str(PROJECT / "examples" / "hello.wav")
LEFT_AFTER_A_WINDOW = 0.6
TINY_SIZE, TINY_FRAMES, TINY_MOTION = (64, 64), 5, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model with a task: its random files, the transformer first, and the size of the video."""

    task: str
    files: tuple[str, ...]
    size: tuple[int, int]


KINDS = {
    "text to video 1.3B": Kind(task=TEXT_TO_VIDEO, files=("t2v_1_3b", *ENCODERS), size=(832, 480)),
    "text to video 14B": Kind(task=TEXT_TO_VIDEO, files=("t2v_14b", *ENCODERS), size=(1280, 720)),
    "image to video 14B": Kind(task=IMAGE_TO_VIDEO, files=("i2v_14b", *PICTURE_ENCODERS), size=(832, 480)),
    "talk 14B": Kind(task=TALK, files=("i2v_14b", "infinitetalk", *TALK_ENCODERS), size=(640, 640)),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A job on a card of `gib`. Talk takes `windows`; after the first the share `left` of the cap stays."""

    kind: str
    gib: int
    preset: str
    what: str = "job"
    windows: int = 1
    left: float = 1.0

    @property
    def words(self) -> set[str]:
        """What chooses it among others."""
        return {self.kind, self.what, self.preset, f"{self.gib}", *self.kind.split()}


CASES = (
    Case(kind="text to video 1.3B", gib=6, preset="tier_under_8gb"),
    Case(kind="text to video 14B", gib=12, preset="tier_12gb_720p"),
    *(Case(kind="image to video 14B", gib=gib, preset=preset) for gib, preset in TIERS.items()),
    *(Case(kind="talk 14B", gib=gib, preset=preset) for gib, preset in TIERS.items()),
    Case(kind="talk 14B", gib=12, preset=TIERS[12], what="oom", windows=2, left=LEFT_AFTER_A_WINDOW),
)


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:  # noqa: ARG001 - a part
    """A row for each case that has one of the words of `only`; the quick ones are the first of each kind."""
    firsts = {(case.kind, case.what): case for case in reversed(CASES)}
    cases = reversed(firsts.values()) if quick else CASES
    chosen = [case for case in cases if not only or case.words & set(only)]
    for index, case in enumerate(chosen):
        key = {"job": case.kind, "what": case.what, "gib": case.gib}
        if not report.has(key):
            report.add(key, partial(measure, case, report.files, quick=quick))
        if not quick:
            _clear(report.files, case, chosen[index + 1 :])


def measure(case: Case, files: Path, *, quick: bool) -> Row:
    """Write the files it needs that are not there, and make its video. Raises RuntimeError for a process that
    ended without an answer.
    """
    kind = KINDS[case.kind]
    with phase("writing files"):
        paths = write_files(kind.files, files, MODE, quick=quick)
    reset_peak()
    output = files / f"{case.kind} {case.what} {case.gib}.mp4".replace(" ", "_")
    output.unlink(missing_ok=True)
    job = Job(
        task=kind.task,
        preset=case.preset,
        output=str(output),
        changes=_changes(case, paths[kind.files[0]], quick=quick),
        cap_gib=case.gib,
        left=case.left,
    )
    with phase("the job"):
        return _in_a_process(job)


def _changes(case: Case, transformer: Path, *, quick: bool) -> dict[str, Any]:
    """What differs from the preset. No two prompts are the same: embeddings are kept on the disk."""
    kind = KINDS[case.kind]
    width, height = TINY_SIZE if quick else kind.size
    frames, motion = (TINY_FRAMES, TINY_MOTION) if quick else (FRAMES, MOTION)
    changes: dict[str, Any] = {
        "model": transformer.stem,
        "prompt": f"{case.kind}, {case.what}, {case.gib} GB",
        "seed": 1,
        "num_inference_steps": STEPS,
        "width": width,
        "height": height,
        "num_frames": frames + (case.windows - 1) * (frames - motion),
        "models_dir": str(transformer.parent),
    }
    if kind.task != TEXT_TO_VIDEO:
        changes["image"] = PICTURE
    if kind.task == TALK:
        changes |= {"audio": [SPEECH], "window_frames": frames, "motion_frames": motion}
    return changes


def _in_a_process(job: Job) -> Row:
    command = [sys.executable, "-m", "benchmarks.one_job"]
    done = subprocess.run(
        command, input=as_json(job), cwd=PROJECT, stdout=subprocess.PIPE, text=True, timeout=LONGEST_SECONDS
    )
    lines = done.stdout.splitlines()
    if done.returncode or not lines:
        raise RuntimeError(f"the process ended with code {done.returncode}")
    row: Row = json.loads(lines[-1])
    return row


def _clear(files: Path, case: Case, later: Iterable[Case]) -> None:
    """Remove a diffusion model that no later case needs: the disk may not hold all of them."""
    name = KINDS[case.kind].files[0]
    if name not in {KINDS[other.kind].files[0] for other in later}:
        PUBLISHED_FILES[name].path(files, MODE).unlink(missing_ok=True)
