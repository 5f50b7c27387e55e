"""Measure the pocket model on held-out clips through the application: python -m tools.pocket.heldout.

Every task's result is written into --out as soon as it is there; the same command goes on where it stopped.
--docs writes the table and the contact sheets of docs/pocket.md.
"""

import argparse
import logging
import os
import shlex
import sys
import tempfile
from pathlib import Path

import torch

from tools.pocket.heldout.bench import SEED, Bench, run_identity
from tools.pocket.heldout.report import summary, table, write_page
from tools.pocket.heldout.results import Result, load_result, save_result
from tools.pocket.heldout.tasks import TASKS, runnable
from tools.pocket.voices import load_voice_bank
from wanvideo.hardware import probe_hardware
from wanvideo.model_cache import ModelCache

PAGE = Path(__file__).parents[3] / "docs" / "pocket.md"
log = logging.getLogger("pocket")


def main(arguments: list[str] | None = None) -> None:
    """Measure, write what was found, and print the table."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch:
        bench = _open(options, Path(scratch))
        results = run(bench, options.only or list(TASKS))
        if options.docs:
            write_page(PAGE, bench.folder, results, _head(options, bench))
    sys.stdout.write(f"{table(results)}\n\n{summary(results)}\n")


def run(bench: Bench, names: list[str]) -> dict[str, Result]:
    """Measure the named tasks that the folder has no result of; every valid result there is comes back."""
    bench.folder.mkdir(parents=True, exist_ok=True)
    identities = {name: run_identity(bench, task.needs_judge) for name, task in TASKS.items()}
    paths = {name: bench.folder / f"{name}.json" for name in TASKS}
    known = {name: load_result(path, identities[name]) for name, path in paths.items()}
    for name in runnable([name for name in names if known[name] is None], bench.human):
        log.info("measuring %s", name)
        result = known[name] = TASKS[name].measure(bench)
        save_result(paths[name], result, identities[name])
    return {name: result for name, result in known.items() if result is not None}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tools.pocket.heldout",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", action="append", choices=TASKS, help="measure this task alone; repeatable")
    parser.add_argument("--clips", type=int, default=16, help="clips of a task; some take a part of it")
    parser.add_argument("--out", type=Path, help="keep results, pictures, sounds and videos here")
    parser.add_argument("--voices", type=Path, help="voice bank that no training used")
    parser.add_argument(
        "--human",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="recordings of people, from the package pocketsphinx-testdata",
    )
    parser.add_argument("--docs", action="store_true", help="write docs/pocket.md and its pictures")
    return parser


def _open(options: argparse.Namespace, scratch: Path) -> Bench:
    voices = None if options.voices is None else load_voice_bank(options.voices, torch.device("cpu"))
    return Bench(
        folder=options.out or scratch,
        clips=options.clips,
        voices=voices,
        human=options.human,
        cache=ModelCache(),
    )


def _head(options: argparse.Namespace, bench: Bench) -> str:
    """How the figures came about: the command, the clips, the machine."""
    words = ["python", "-m", "tools.pocket.heldout", "--clips", str(bench.clips), "--out", "RUN", "--docs"]
    if options.voices is not None:
        words += ["--voices", "VOICES"]
    if not bench.human:
        words.append("--no-human")
    machine = probe_hardware()
    device = (
        machine.gpus[0].name if machine.device == "cuda" else f"{machine.cores} CPU cores ({machine.cpu})"
    )
    speech = (
        "babble and the held-out voices in equal shares" if options.voices is not None else "babble alone"
    )
    return (
        f"```\n{shlex.join(words)}\n```\n\n"
        f"Clips from seed {SEED} on, which no training uses; synthetic speech is {speech}. "
        f"Machine: {device}, {os.environ.get('OMP_NUM_THREADS') or torch.get_num_threads()} threads, "
        f"torch {torch.__version__.partition('+')[0]}. "
        f"Weights and settings: `{run_identity(bench)}`."
    )


if __name__ == "__main__":
    main()
