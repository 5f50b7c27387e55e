"""Measure this machine: python -m benchmarks attention|modes|linear|kernels|load|swap|jobs|twenty|peaks|
caches|targets|all [--out DIR] [--docs] [--quick] [--only NAME ...].

Every row is in DIR/PART.json as soon as it is there; a row that fails is a row with its reason. `page --from
DIR` writes docs/benchmarks.md from JSON files that another machine made.
"""

import argparse
import logging
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import (
    attention,
    kernels,
    linears,
    load,
    modes,
    peaks,
    step_caches,
    swap,
    targets,
    twenty,
    whole_jobs,
)
from benchmarks.page import PAGE, table, write_page
from benchmarks.report import CardLost, Head, Report, Row
from wanvideo.hardware import probe_hardware

PARTS: dict[str, Callable[..., None]] = {
    "attention": attention.run,
    "modes": modes.run,
    "linear": linears.run,
    "kernels": kernels.run,
    "load": load.run,
    "swap": swap.run,
    "jobs": whole_jobs.run,
    "twenty": twenty.run,
    "peaks": peaks.run,
    "caches": step_caches.run,
    "targets": targets.run,
}
FOLDER = Path("outputs/benchmarks")
FILES = Path("outputs/random_files")
log = logging.getLogger("benchmarks")


def main(
    arguments: Sequence[str] | None = None,
    parser: type[argparse.ArgumentParser] = argparse.ArgumentParser,
) -> dict[str, list[Row]]:
    """Measure, write the rows, print the tables; returns the rows of each part that was measured."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(parser).parse_args(given)
    measured: dict[str, list[Row]] = {}
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    if options.part != "page":
        try:
            measured = _measure(options)
        except CardLost as error:
            _go_on_in_a_new_process(given, error)
    if options.docs or options.part == "page":
        write_page(options.page, options.out)
    return measured


def _measure(options: argparse.Namespace) -> dict[str, list[Row]]:
    words = [options.part, *(["--quick"] if options.quick else [])]
    words += ["--only", *options.only] if options.only else []
    command = shlex.join(["python", "-m", "benchmarks", *words])
    machine, measured = probe_hardware(), {}
    for name in PARTS if options.part == "all" else [options.part]:
        head = Head(command=command, machine=machine, quick=options.quick)
        files = options.files / ("tiny" if options.quick else "published")
        report = Report(options.out / f"{name}.json", head, resume=options.resume, files=files.resolve())
        PARTS[name](report, machine, quick=options.quick, only=options.only)
        print(f"\n{table(name, report.rows)}\n", flush=True)
        measured[name] = report.rows
    return measured


def _go_on_in_a_new_process(given: list[str], error: CardLost) -> None:
    """In the place of this one, whose card answers no more; the row that did it has its reason."""
    log.warning("a new process goes on: %s", error)
    resumed = given if "--resume" in given else [*given, "--resume"]
    os.execv(sys.executable, [sys.executable, "-m", "benchmarks", *resumed])


def _parser(kind: type[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    parser = kind(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("part", choices=[*PARTS, "all", "page"])
    parser.add_argument("--out", "--from", type=Path, default=FOLDER, metavar="DIR", help="the JSON files")
    parser.add_argument("--docs", action="store_true", help="write docs/benchmarks.md from them")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: shows that everything runs")
    parser.add_argument(
        "--only", nargs="+", default=[], metavar="NAME", help="these backends, modes, jobs or targets"
    )
    parser.add_argument(
        "--files", type=Path, default=FILES, metavar="DIR", help="where random models are kept"
    )
    parser.add_argument("--resume", action="store_true", help="keep the rows that are there")
    parser.add_argument("--page", type=Path, default=PAGE, metavar="FILE", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    main()
