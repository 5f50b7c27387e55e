"""`python -m wanvideo models ACTION`: the flags, and which function answers."""

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.cli_answer import Answer, Console
from wanvideo.cli_models_download import download_models, verify_files
from wanvideo.cli_models_list import inspect_file, list_models
from wanvideo.downloads.added_folders import add_folder, added_folders, remove_folder
from wanvideo.hardware import probe_hardware
from wanvideo.prepare import model_folders
from wanvideo.registry import quantization_modes, resolve
from wanvideo.request import OPTION_FIELDS, ProgressEvent, RuntimeOptions


def add_flags(parser: argparse.ArgumentParser) -> None:
    """What `models` takes beside the flags of every command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, action in ACTIONS.items():
        added = actions.add_parser(name, help=action.help, description=action.help, allow_abbrev=False)
        added.add_argument("--models-dir", default=OPTION_FIELDS["models_dir"].default, metavar="D")
        for flag in ("--json", "--debug"):  # as of every command, also after the action
            added.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
        action.flags(added)


def run_models(arguments: argparse.Namespace, console: Console) -> Answer:
    """Carry out the action. Raises UserError, and Cancelled when it is stopped."""
    return ACTIONS[arguments.action].run(arguments, console)


def _folders(arguments: argparse.Namespace) -> list[Path]:
    return list(model_folders(RuntimeOptions(models_dir=arguments.models_dir)))


def _convert_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="IN", help="a model file, or a folder with one model")
    parser.add_argument("output", type=Path, metavar="OUT", help="the .safetensors file to write")
    modes = ", ".join(quantization_modes())
    parser.add_argument("--quantization", required=True, metavar="MODE", help=f"one of {modes}")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it exists")


def _convert(arguments: argparse.Namespace, console: Console) -> Answer:
    mode = resolve(quantization_modes(), arguments.quantization, "quantization")
    source = inspect_checkpoint(arguments.source)
    with console.watch() as progress:
        progress(ProgressEvent(stage="convert", message=f"{source.path.name} to {mode.name}"))
        from wanvideo.checkpoint.convert import Conversion, convert  # loads torch

        job = Conversion(
            source=source,
            output=arguments.output,
            mode=mode,
            device=probe_hardware().device,
            overwrite=arguments.overwrite,
        )
        convert(job, lambda done, total: progress(ProgressEvent(stage="convert", step=done, steps=total)))
    size, output = arguments.output.stat().st_size, str(arguments.output)
    sizes = f"{size / 1e6:,.1f} MB; the source has {source.bytes / 1e6:,.1f} MB"
    values = {"output": output, "bytes": size, "source_bytes": source.bytes, "mode": mode.name}
    return Answer(lines=(output, sizes), values=values)


def _download_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a recipe or a file of `models list`")
    parser.add_argument("--yes", action="store_true", help="don't ask before a large download")


def _file_flag(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", type=Path, metavar="FILE", help="a model file, a shard, or a folder")


def _verify_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--numbers", action="store_true", help="also look for NaN and infinite numbers")


def _folder_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR")


def _list_of_folders(done: str, folder: Path) -> Answer:
    values = {"folder": str(folder), "added_folders": [str(added) for added in added_folders()]}
    return Answer(lines=(f"{folder} {done}",), values=values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Action:
    run: Callable[[argparse.Namespace, Console], Answer]
    help: str
    flags: Callable[[argparse.ArgumentParser], None] = lambda _: None


ACTIONS: Mapping[str, _Action] = {
    "list": _Action(
        run=lambda arguments, _: list_models(_folders(arguments)),
        help="show the model files that are there, and which recipes are complete",
    ),
    "inspect": _Action(
        run=lambda arguments, _: inspect_file(arguments.file),
        help="show what a file is, from its header",
        flags=_file_flag,
    ),
    "verify": _Action(
        run=lambda arguments, console: verify_files(
            arguments.files, console, scans_numbers=arguments.numbers
        ),
        help="check that files are whole: header, size, hash",
        flags=_verify_flags,
    ),
    "download": _Action(
        run=lambda arguments, console: download_models(
            arguments.name, _folders(arguments), console, sure=arguments.yes
        ),
        help="bring a recipe or a file from the model hub; goes on where it stopped",
        flags=_download_flags,
    ),
    "add-folder": _Action(
        run=lambda arguments, _: _list_of_folders("was added", add_folder(arguments.folder)),
        help="use the models of a ComfyUI folder where they lie",
        flags=_folder_flags,
    ),
    "remove-folder": _Action(
        run=lambda arguments, _: _list_of_folders("was removed", remove_folder(arguments.folder)),
        help="no longer use an added folder; nothing in it is touched",
        flags=_folder_flags,
    ),
    "convert": _Action(run=_convert, help="write a checkpoint in another format", flags=_convert_flags),
}
