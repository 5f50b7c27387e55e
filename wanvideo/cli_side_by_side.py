"""The variations of one command on several cards: `python -m wanvideo.cli_side_by_side` works on each.

A process is given its share of the videos as JSON on stdin, plans them for its own card, makes them one after
the other with the models of the one before, and answers with one JSON object.
"""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from wanvideo.cards import card_environments
from wanvideo.cli_making import human, make_videos, print_json
from wanvideo.errors import Cancelled
from wanvideo.hardware import Hardware
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.request import read_options, read_request, to_mapping

STOPPED = 3


def make_on_cards(plans: Sequence[GenerationPlan], machine: Hardware, *, as_json: bool) -> None:
    """On as many cards as the plans' option `gpus` has, at most one for each video. Raises Cancelled when it
    is stopped, RuntimeError when a process fails.
    """
    environments = card_environments(machine, plans[0].options.gpus)[: len(plans)]
    if len(environments) == 1:
        make_videos(plans, as_json=as_json)
        return
    shares = [plans[number :: len(environments)] for number in range(len(environments))]
    processes = [_start(environment, share) for environment, share in zip(environments, shares, strict=True)]
    print(f"{len(plans)} videos on {len(processes)} cards", file=sys.stderr)
    try:
        answers = [process.communicate()[0] for process in processes]
    except KeyboardInterrupt:
        for process in processes:  # a terminal has told them as well
            process.wait()
        raise
    _check(processes)
    reports = _in_order(plans, [report for answer in answers for report in _reports_of(answer)])
    for report in reports:
        print(report["output"], file=human(as_json))
    if as_json:
        print_json(reports)


def _start(environment: Mapping[str, str], share: Sequence[GenerationPlan]) -> "subprocess.Popen[str]":
    orders = [
        {
            "request": to_mapping(plan.request),
            "options": to_mapping(plan.options),
            "output": str(plan.output),
        }
        for plan in share
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", __name__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, **environment, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it is over already: its status tells
        process.stdin.write(json.dumps(orders) + "\n")
        process.stdin.flush()
    return process


def _check(processes: Sequence["subprocess.Popen[str]"]) -> None:
    statuses = [process.returncode for process in processes]
    if STOPPED in statuses:
        raise Cancelled("")
    if any(statuses):
        raise RuntimeError(f"a card's process ended with {max(statuses, key=abs)}; what it said stands above")


def _reports_of(answer: str) -> list[dict[str, Any]]:
    """Of the last line, which is one report or holds several."""
    first = json.loads(answer.splitlines()[-1])
    reports: list[dict[str, Any]] = first.get("variations", [first])
    return reports


def _in_order(plans: Sequence[GenerationPlan], reports: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    by_name = {Path(report["output"]).name: report for report in reports}
    return [by_name[plan.output.name] for plan in plans]


def main() -> int:
    """The videos that stdin names, on the card that is visible here."""
    plans = [
        plan
        for order in json.loads(sys.stdin.readline())
        for plan in prepare(
            read_request(order["request"]),
            read_options(order["options"]),
            Path(order["output"]),
            tries_kernels=True,
        )
    ]
    try:
        make_videos(plans, as_json=True)
    except (Cancelled, KeyboardInterrupt) as stop:
        print(f"Stopped. {stop}".rstrip(), file=sys.stderr)
        return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
