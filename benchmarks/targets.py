"""The figures that this project wants to reach: one row each, its peer measured in the same run."""

import shlex
from functools import partial

from benchmarks import (
    forward_targets,
    loop_target,
    moving_targets,
    page_target,
    pocket_targets,
    tier_target,
    vae_target,
)
from benchmarks.report import REASON, Report, Row
from benchmarks.target_row import Bench, Target, Unmeasured
from wanvideo.hardware import Hardware

NO_CARD = "no card"
TARGETS: tuple[Target, ...] = (
    *forward_targets.TARGETS,
    *loop_target.TARGETS,
    *moving_targets.TARGETS,
    *tier_target.TARGETS,
    *vae_target.TARGETS,
    *pocket_targets.TARGETS,
    *page_target.TARGETS,
)


def run(report: Report, machine: Hardware, *, quick: bool, only: list[str]) -> None:
    """A row for each target that one of the words of `only` names, and for those it is computed from."""
    bench = Bench(machine, report, quick=quick)
    for target in chosen(only):
        key = {"target": target.name}
        if not report.has(key):
            report.add(key, partial(measure, target, bench))


def chosen(only: list[str]) -> tuple[Target, ...]:
    """All of them without words."""
    named = {one.name for one in TARGETS if not only or one.words & set(only)}
    needed = {name for one in TARGETS if one.name in named for name in one.needs}
    return tuple(one for one in TARGETS if one.name in named | needed)


def measure(target: Target, bench: Bench) -> Row:
    """Figures, whether they are enough, and the command that makes them; or why there are none."""
    about: Row = {
        "peer_name": target.peer,
        "goal": "" if target.goal is None else target.goal.text,
        "command": shlex.join(["python", "-m", "wanvideo", "bench", "targets", "--only", target.name]),
    }
    if target.needs_card and not bench.quick and bench.machine.device == "cpu":
        return about | {REASON: NO_CARD}
    try:
        found = target.measure(bench)
    except Unmeasured as why:
        return about | {REASON: str(why)}
    return about | {
        "value": found.value,
        "unit": found.unit,
        "peer": found.peer,
        "ratio": found.ratio,
        "met": None if target.goal is None else target.goal.is_met(found),
        "quality": found.quality,
        "how": found.how,
    }
