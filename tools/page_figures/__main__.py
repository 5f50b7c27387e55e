"""Prints the figures with their limits; exit code 1 when one is missed."""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tools.page_figures.crowd import crowd
from tools.page_figures.measuring import Figure, answers, jobs
from tools.page_figures.server import running_page
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.page_figures", description=__doc__)
    parser.add_argument("--ended", type=int, default=3000, help="jobs that have ended")
    parser.add_argument("--waiting", type=int, default=200, help="jobs that wait")
    parser.add_argument("--times", type=int, default=30, help="answers measured of each kind")
    parser.add_argument("--jobs", type=int, default=5, help="jobs measured")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    flags = parser.parse_args(arguments)
    figures = measure(flags)
    print(as_json(figures) if flags.json else as_table(figures))
    return 0 if all(figure.holds for figure in figures) else 1


def measure(flags: argparse.Namespace) -> list[Figure]:
    """Starts the page over a queue of the asked size; the jobs come first, as they load the models."""
    with tempfile.TemporaryDirectory() as folder:
        store = JobStore(queue_file(Path(folder) / "out"))
        crowd(store, flags.ended, flags.waiting)
        with running_page(Path(folder)) as port:
            return [*jobs(port, store, flags.jobs), *answers(port, flags.times)]


def as_table(figures: Sequence[Figure]) -> str:
    """A line for each figure; what is missed says so."""
    head = f"{'':30}{'median':>9}{'worst':>9}{'limit':>9}"
    rows = [
        f"{figure.what:30}{figure.middle:9.0f}{figure.worst:9.0f}{figure.limit:9.0f} {figure.unit}"
        f"{'' if figure.holds else '  MISSED'}"
        for figure in figures
    ]
    return "\n".join([head, *rows])


def as_json(figures: Sequence[Figure]) -> str:
    """The same as one object per figure."""
    rows = [
        {
            "what": figure.what,
            "unit": figure.unit,
            "median": figure.middle,
            "worst": figure.worst,
            "limit": figure.limit,
            "holds": figure.holds,
        }
        for figure in figures
    ]
    return json.dumps({"figures": rows})


if __name__ == "__main__":
    sys.exit(main())
