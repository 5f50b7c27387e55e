"""What each quantization mode and attention backend costs in quality: python -m tools.pocket.quality.

The same held-out speakers, seeds and sounds, made by the application once exactly and once with each mode and
each backend of the tables, and with emulations of those that few machines can run. --docs keeps the figures
in docs/quality.json, a table for each machine, and writes docs/quality.md from them.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from tools.emulation.in_application import emulated_attention, emulated_modes
from tools.pocket.heldout.bench import Bench
from tools.pocket.quality.figures import (
    MachineTable,
    check_same,
    load_tables,
    of_machine,
    save_tables,
    with_rows,
    with_table,
)
from tools.pocket.quality.measure import Row, known_options, log, measure, measure_exact
from tools.pocket.quality.page import table, verdict, write_page
from wanvideo.errors import UserError
from wanvideo.hardware import probe_hardware
from wanvideo.model_cache import ModelCache

DOCS = Path(__file__).parents[3] / "docs"


def main(arguments: list[str] | None = None) -> None:
    """Measure and print the table."""
    with emulated_attention(), emulated_modes():
        options = _parser().parse_args(arguments)
        logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
        log.setLevel(logging.INFO)
        try:
            _run(options)
        except UserError as problem:
            sys.exit(str(problem))


def run(bench: Bench, only: Collection[str] | None, tables: list[MachineTable]) -> MachineTable:
    """This machine's table: all rows measured, or those named in `only` put among those of `tables`.

    Raises UserError, before the slow part, when they could not stand beside each other.
    """
    reference = measure_exact(bench)
    found = _table(bench, reference.row)
    kept = None if only is None else of_machine(tables, found.machine)
    if kept is not None:
        check_same(kept, found)
    found = replace(found, rows=(reference.row, *measure(reference, only)))
    return found if kept is None else with_rows(kept, found)


def _table(bench: Bench, exact: Row) -> MachineTable:
    machine = probe_hardware()
    return MachineTable(
        machine=machine.gpus[0].name if machine.device == "cuda" else f"{machine.cores} CPU cores",
        torch=torch.__version__.partition("+")[0],
        dtype=machine.dtype,
        clips=bench.clips,
        rows=(exact,),
    )


def _parser() -> argparse.ArgumentParser:
    names = [name for _, name in known_options()]
    parser = argparse.ArgumentParser(prog="python -m tools.pocket.quality", description=__doc__)
    parser.add_argument("--clips", type=int, default=4)
    parser.add_argument("--out", type=Path, help="keep pictures, sounds and videos here")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=names,
        metavar="NAME",
        help=f"measure these rows alone, the others of this machine stay: {', '.join(names)}",
    )
    parser.add_argument("--docs", action="store_true", help="write docs/quality.json and docs/quality.md")
    return parser


def _run(options: argparse.Namespace) -> None:
    tables = load_tables(DOCS / "quality.json") if options.docs else []
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.out or Path(scratch)
        bench = Bench(folder=folder, clips=options.clips, voices=None, human=False, cache=ModelCache())
        found = run(bench, options.only, tables)
    titles = known_options()
    if options.docs:
        tables = with_table(tables, found)
        save_tables(DOCS / "quality.json", tables)
        write_page(DOCS / "quality.md", tables, titles)
    shown = titles if options.only is None else {key: titles[key] for key in titles if key[1] in options.only}
    sys.stdout.write(f"{table(found.rows, shown)}\n\n{verdict(found.rows, titles)}\n")


if __name__ == "__main__":
    main()
