"""`python -m wanvideo bench PART ...`: measure this machine, by the package `benchmarks` beside this one."""

import argparse
import importlib
import importlib.util
import logging
import sys
from contextlib import nullcontext, redirect_stdout

from wanvideo.cli_answer import Answer
from wanvideo.errors import UserError

PACKAGE = "benchmarks"
PARTS = (  # those of the package, which loads torch
    *("targets", "peaks", "attention", "modes", "linear", "kernels", "caches", "load", "swap"),
    *("jobs", "twenty", "all", "page"),
)
FIRST = PARTS[0]


def add_bench_flags(parser: argparse.ArgumentParser) -> None:
    """What `bench` takes; the rest is for the package, which knows its own flags."""
    told = f"one of {', '.join(PARTS)} (else {FIRST}), and its flags: bench {FIRST} --help"
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="PART ...", help=told)


def run_bench(arguments: argparse.Namespace, parser: type[argparse.ArgumentParser]) -> Answer:
    """Measure, print the tables, give the rows of each part. Raises UserError where the package is not there,
    and for words that it does not know if `parser` does so.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        fix = "Start from the project's own folder, which has it."
        raise UserError(f"the folder {PACKAGE} is not beside the program", fix=fix)
    words = [word for word in arguments.words if word not in ("--json", "--debug")]
    arguments.json |= "--json" in arguments.words  # as of every command, also after the part
    if "--debug" in arguments.words:
        logging.getLogger().setLevel(logging.DEBUG)
    main = importlib.import_module(f"{PACKAGE}.__main__").main
    with redirect_stdout(sys.stderr) if arguments.json else nullcontext():
        rows = main(words or [FIRST], parser)
    return Answer(lines=(), values={"rows": rows})
