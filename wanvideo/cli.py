"""The command line: flags made from the field table, the same story as the page, answers for people or as JSON.

Exit codes: 0 done, 2 bad input (one line on stderr), 3 stopped by the user, 1 anything else.
"""

import argparse
import json
import logging
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

from wanvideo.errors import Cancelled, UserError
from wanvideo.fields import Row, read_values
from wanvideo.hardware import Hardware, probe_hardware
from wanvideo.model_cache import ModelCache
from wanvideo.plan import GenerationPlan
from wanvideo.prepare import prepare
from wanvideo.presets import load_preset, read_json_object
from wanvideo.progress_bar import ProgressBar
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS, ProgressEvent, read_options, read_request

log = logging.getLogger(__name__)

FIELDS: Mapping[str, Row] = {**REQUEST_FIELDS, **OPTION_FIELDS}
DEMO_PRESET = "pocket_demo"
DONE, FAILED, BAD_INPUT, STOPPED = 0, 1, 2, 3
# Two ways to give the length: the later layer's word replaces the other spelling of the earlier one
_LENGTHS = {"num_frames", "seconds"}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. A bug of ours is not caught: Python shows it and exits with 1."""
    try:
        arguments = _parser().parse_args(argv)
        logging.basicConfig(level=logging.DEBUG if arguments.debug else logging.WARNING)
        COMMANDS[arguments.command].run(arguments)
    except UserError as error:
        print(_one_line(error), file=sys.stderr)
        return BAD_INPUT
    except (Cancelled, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
        return STOPPED
    except (OSError, RuntimeError, MemoryError) as error:
        print(f"{type(error).__name__}: {_one_line(error)} (--debug shows where)", file=sys.stderr)
        log.debug("failed", exc_info=error)
        return FAILED
    return DONE


def _generate(arguments: argparse.Namespace) -> None:
    _make(_plans(arguments), as_json=arguments.json)


def _demo(arguments: argparse.Namespace) -> None:
    preset = load_preset(DEMO_PRESET)
    request, options = read_request(preset.request), read_options(preset.options)
    _make(prepare(request, options, arguments.output), as_json=arguments.json)


def _plan(arguments: argparse.Namespace) -> None:
    plans = _plans(arguments)
    for plan in plans:
        print("\n".join(_describe(plan)), file=_human(arguments.json))
    if arguments.json:
        _print_json([{**_report(plan), "files": _file_list(plan)} for plan in plans])


def _hardware(arguments: argparse.Namespace) -> None:
    machine = probe_hardware()
    print(_machine_text(machine), file=_human(arguments.json))
    tables: dict[str, list[dict[str, Any]]] = {}
    for title, table in (("attention", attention_backends()), ("quantization", quantization_modes())):
        tables[title] = []
        print(f"{title}:", file=_human(arguments.json))
        for option in table.values():
            reason = option.unavailable_reason(machine)
            tables[title].append({"name": option.name, "usable": reason is None, "reason": reason})
            print(f"  {option.name:<24} {reason or 'usable'}", file=_human(arguments.json))
    if arguments.json:
        print(json.dumps({"machine": {**asdict(machine), "device": machine.device}, **tables}))


def _make(plans: Sequence[GenerationPlan], *, as_json: bool) -> None:
    from wanvideo.pipeline import generate  # the engine loads torch

    cache, reports = ModelCache(), []
    for plan in plans:
        for note in plan.notes:
            print(f"Note: {note}.", file=sys.stderr)
        with _stoppable(ProgressBar(sys.stderr)) as progress:
            result = generate(plan, cache, progress)
        print(f"{result.output}\n{result.seconds:.1f} seconds", file=_human(as_json))
        reports.append({**_report(plan), "output": str(result.output), "seconds": round(result.seconds, 3)})
    if as_json:
        _print_json(reports)


@contextmanager
def _stoppable(show: Callable[[ProgressEvent], None]) -> Iterator[Callable[[ProgressEvent], None]]:
    """A progress callback that raises Cancelled at the next step after Ctrl+C or a polite kill; a second one is at once."""
    asked: list[int] = []

    def on_signal(number: int, _: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    def progress(event: ProgressEvent) -> None:
        if asked:
            raise Cancelled
        show(event)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield progress
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plans(arguments: argparse.Namespace) -> tuple[GenerationPlan, ...]:
    """Preset, then request file, then flags and --set: each layer replaces what it names."""
    layers: list[Mapping[str, Any]] = []
    if arguments.preset:
        preset = load_preset(arguments.preset)
        layers.append({**preset.request, **preset.options})
    if arguments.request:
        layers.append(_read_request_file(arguments.request))
    layers.append(_flags(arguments))
    values: dict[str, Any] = {}
    for layer in layers:
        if _LENGTHS & layer.keys():
            values = {name: value for name, value in values.items() if name not in _LENGTHS}
        values |= layer
    request = read_request({name: value for name, value in values.items() if name in REQUEST_FIELDS})
    options = read_options({name: value for name, value in values.items() if name in OPTION_FIELDS})
    return prepare(request, options, arguments.output)


def _flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Flags, then --set in the order given; the last word on a field counts."""
    given = vars(arguments)
    values = read_values(FIELDS, {name: given[name] for name in FIELDS if given.get(name) is not None})
    for setting in arguments.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError("--set needs FIELD=VALUE", value=setting)
        values |= read_values(FIELDS, {name: _structured(value)})
    return values


def _structured(text: str) -> Any:
    """The list that a text in JSON's brackets stands for (several files, boxes, numbers), else the text itself."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except ValueError:
        return text


def _report(plan: GenerationPlan) -> dict[str, Any]:
    return {"output": str(plan.output), "effective": plan.effective(), "notes": list(plan.notes)}


def _print_json(reports: list[dict[str, Any]]) -> None:
    """One object on the last line of stdout: the first video's report, with all of them when there are several."""
    whole = {**reports[0], "variations": reports} if len(reports) > 1 else reports[0]
    print(json.dumps(whole, ensure_ascii=False))


def _human(as_json: bool) -> TextIO:
    """Where words for people go: beside a JSON answer, stdout is the program's alone."""
    return sys.stderr if as_json else sys.stdout


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
            _add_fields(added)
    return parser


def _add_fields(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--preset", metavar="NAME", help="start from a preset")
    parser.add_argument("--request", type=Path, metavar="FILE.json", help="then take the fields of this file")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field, by name or alias"
    )
    for row in FIELDS.values():
        if row.flag is None:
            continue
        words = row.help.replace("%", "%%")
        if row.kind == "bool":
            parser.add_argument(row.flag, dest=row.name, action="store_const", const=True, help=words)
        elif row.kind == "paths":
            parser.add_argument(
                row.flag, dest=row.name, action="extend", nargs="+", metavar="FILE", help=words
            )
        else:
            parser.add_argument(row.flag, dest=row.name, metavar=_METAVARS.get(row.kind, "VALUE"), help=words)


_METAVARS = {"path": "FILE", "int": "N", "float": "X", "floats": "X", "name": "NAME"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A subcommand; `fields` when it takes every flag of the field table."""

    run: Callable[[argparse.Namespace], None]
    help: str
    output: bool = False
    fields: bool = False


COMMANDS: Mapping[str, Command] = {
    "demo": Command(run=_demo, help="make the bundled talking picture", output=True),
    "generate": Command(run=_generate, help="make a video", output=True, fields=True),
    "plan": Command(
        run=_plan, help="show what generate would do, without loading a model", output=True, fields=True
    ),
    "hardware": Command(run=_hardware, help="show this machine and which options it can run"),
}
