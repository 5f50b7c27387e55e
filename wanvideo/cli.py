"""The command line: flags made from the field table, the same story as the page, answers as text or JSON.

Exit codes: 0 done, 2 bad input (one line on stderr), 3 stopped by the user, 1 anything else.
"""

import argparse
import io
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from wanvideo import cli_bench, cli_export, cli_queue
from wanvideo.cli_answer import TERMINAL, Answer
from wanvideo.cli_flags import add_fields, read_flags
from wanvideo.cli_making import human, make_videos, print_json, print_notes, report_of
from wanvideo.cli_models import add_flags, run_models
from wanvideo.cli_selftest import report_lines, run_selftest
from wanvideo.cli_side_by_side import make_on_cards
from wanvideo.errors import Cancelled, UserError
from wanvideo.fallback import obstacle
from wanvideo.hardware import Hardware, probe_hardware
from wanvideo.known_cards import assumed
from wanvideo.memory.kept import keep_rates
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.presets import join_layers, load_preset, read_request_file
from wanvideo.proof.kept import ATTENTION, QUANTIZATION, read_proofs
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.wording import describe_machine, describe_plan, describe_rates, model_files

log = logging.getLogger(__name__)

DEMO_PRESET = "pocket_demo"
DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 3


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A bug of ours is not caught: Python shows it (1)."""
    _speak_utf8()
    try:
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.WARNING)
        COMMANDS[arguments.command].run(arguments)
    except UserError as error:
        print(_one_line(error), file=sys.stderr)
        return BAD_INPUT
    except (Cancelled, KeyboardInterrupt) as stop:
        print(f"Stopped. {stop}".rstrip(), file=sys.stderr)
        return STOPPED
    except (OSError, RuntimeError, MemoryError) as error:
        print(f"{type(error).__name__}: {_one_line(error)} (--debug shows where)", file=sys.stderr)
        log.debug("failed", exc_info=error)
        return FAILED
    return DONE


def _speak_utf8() -> None:
    """A pipe on Windows has an old code page, which has no letters for most of the world's file names."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


def _generate(arguments: argparse.Namespace) -> None:
    make_on_cards(_plans(arguments, carried_out=True), probe_hardware(), as_json=arguments.json)


def _demo(arguments: argparse.Namespace) -> None:
    preset = load_preset(DEMO_PRESET)
    request, options = join_layers(preset.layers())
    make_videos(prepare(request, options, arguments.output, tries_kernels=True), as_json=arguments.json)


def _plan(arguments: argparse.Namespace) -> None:
    card = arguments.assume_gpu
    machine = assumed(probe_hardware(), card) if card is not None else None
    plans, out = _plans(arguments, machine=machine), human(arguments.json)
    for plan in plans:
        for subject, sentence in describe_plan(plan):
            print(f"{subject + ':':<18} {sentence}", file=out)
        print_notes(plan, out)
    if arguments.json:
        print_json([{**report_of(plan), "files": model_files(plan)} for plan in plans])


def _plan_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--assume-gpu", metavar="NAME", help='plan for another card, as "RTX 4090"')


def _calibrate(arguments: argparse.Namespace) -> None:
    from wanvideo.memory.measure import measure_rates  # its functions load torch

    machine, out = probe_hardware(), human(arguments.json)
    proven = read_proofs(machine).attention.values()
    rates = measure_rates(machine, proven, lambda what: print(f"measuring {what} ...", file=sys.stderr))
    kept = keep_rates(machine, rates)
    print("\n".join(describe_rates(rates)), f"Kept in {kept}.", sep="\n", file=out)
    if arguments.json:
        print(json.dumps(asdict(rates)))


def _hardware(arguments: argparse.Namespace) -> None:
    machine, out = probe_hardware(), human(arguments.json)
    print("\n".join(describe_machine(machine)), file=out)
    answer: dict[str, Any] = {"machine": {**asdict(machine), "device": machine.device}}
    known = read_proofs(machine)
    tables = (
        (ATTENTION, attention_backends(), known.attention),
        (QUANTIZATION, quantization_modes(), known.quantization),
    )
    for title, table, proofs in tables:
        reasons = {name: obstacle(option, machine, proofs) for name, option in table.items()}
        answer[title] = [{"name": n, "usable": why is None, "reason": why} for n, why in reasons.items()]
        print(
            f"{title}:", *(f"{n:<24} {why or 'usable'}" for n, why in reasons.items()), sep="\n  ", file=out
        )
    if arguments.json:
        print(json.dumps(answer))


def _selftest(arguments: argparse.Namespace) -> None:
    found = run_selftest(
        probe_hardware(), lambda line: print(line, file=sys.stderr, flush=True), again=arguments.again
    )
    report = "\n".join(report_lines(found))
    print(report, file=human(arguments.json))
    if arguments.report:
        arguments.report.write_text(f"{report}\n", encoding="utf-8")
    if arguments.json:
        print(json.dumps(found.as_json()))


def _selftest_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", type=Path, metavar="FILE", help="also write the text to this file, to send"
    )
    parser.add_argument("--again", action="store_true", help="test also what was tested before")


def _answering(run: Callable[[argparse.Namespace], Answer]) -> Callable[[argparse.Namespace], None]:
    """A command that prints what `run` found out. Raises UserError with its problem."""

    def command(arguments: argparse.Namespace) -> None:
        answer = run(arguments)
        print("\n".join(answer.lines), file=human(arguments.json))
        if arguments.json:
            print(json.dumps(answer.values))
        if answer.problem:
            raise UserError(answer.problem)

    return command


def _plans(
    arguments: argparse.Namespace, *, carried_out: bool = False, machine: Hardware | None = None
) -> tuple[GenerationPlan, ...]:
    """Preset, then request file, then flags and --set."""
    given: list[Mapping[str, Any]] = []
    if arguments.request:
        given.append(read_request_file(arguments.request))
    given.append(read_flags(arguments))
    if arguments.preset:
        task = next((layer["task"] for layer in reversed(given) if "task" in layer), None)
        given = [*load_preset(arguments.preset).layers(task), *given]
    request, options = join_layers(given)
    return prepare(request, options, arguments.output, tries_kernels=carried_out, machine=machine)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())


class _Parser(argparse.ArgumentParser):
    """Mistakes are a UserError like any other, so that they are one line and exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Raises UserError; argparse would print the whole usage."""
        raise UserError(message.rstrip("."), fix=f"See: {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="python -m wanvideo", description="Videos with Wan 2.1.", allow_abbrev=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, command in COMMANDS.items():
        added = commands.add_parser(name, help=command.help, description=command.help, allow_abbrev=False)
        added.add_argument("--json", action="store_true", help="one JSON object on the last line of stdout")
        added.add_argument("--debug", action="store_true", help="log everything to stderr")
        if command.output:
            added.add_argument("--output", type=Path, metavar="FILE", help="the mp4 to make")
        if command.fields:
            add_fields(added)
        if command.flags:
            command.flags(added)
    return parser


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand; `fields` when it takes every flag of the field table, `flags` adds its own."""

    run: Callable[[argparse.Namespace], None]
    help: str
    output: bool = False
    fields: bool = False
    flags: Callable[[argparse.ArgumentParser], None] | None = None


COMMANDS: Mapping[str, Command] = {
    "demo": Command(run=_demo, help="make the bundled talking picture", output=True),
    "generate": Command(run=_generate, help="make a video", output=True, fields=True),
    "plan": Command(
        run=_plan,
        help="show what generate would do, without loading a model",
        output=True,
        fields=True,
        flags=_plan_flags,
    ),
    "hardware": Command(run=_hardware, help="show this machine and which options it can run"),
    "models": Command(
        run=_answering(lambda arguments: run_models(arguments, TERMINAL)),
        help="list, check, download and convert model files",
        flags=add_flags,
    ),
    "export": Command(
        run=_answering(lambda arguments: cli_export.run_export(arguments, TERMINAL)),
        help="write a finished video as webm, gif or pictures",
        flags=cli_export.add_export_flags,
    ),
    "queue": Command(
        run=_answering(cli_queue.run_queue),
        help="show and change the page's jobs",
        flags=cli_queue.add_queue_flags,
    ),
    "resume": Command(
        run=_answering(lambda arguments: cli_queue.run_resume(arguments, TERMINAL)),
        help="continue an interrupted job, here",
        flags=cli_queue.add_resume_flags,
    ),
    "unload": Command(
        run=_answering(cli_queue.run_unload),
        help="let the page's worker drop its loaded models",
        flags=cli_queue.add_folder,
    ),
    "calibrate": Command(run=_calibrate, help="measure this machine's speed, for forecasts of time"),
    "selftest": Command(
        run=_selftest,
        help="test every attention backend and quantization mode on this machine",
        flags=_selftest_flags,
    ),
    "bench": Command(
        run=_answering(lambda arguments: cli_bench.run_bench(arguments, _Parser)),
        help="measure this machine: targets against peers, speed, memory, error",
        flags=cli_bench.add_bench_flags,
    ),
}
