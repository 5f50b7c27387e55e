"""The flags of the field table on the command line, and what was given with them."""

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.prepare import model_folders
from wanvideo.presets import ALL_FIELDS
from wanvideo.request import read_options
from wanvideo.workflow.importing import import_workflow
from wanvideo.workflow.report import TAKEN
from wanvideo.workflow.settling import LENGTHS

_LISTS = ("paths", "loras")
_METAVARS = {"path": "PATH", "int": "N", "auto_int": "N", "float": "X", "floats": "X", "name": "NAME"}
_METAVARS |= {"paths": "FILE", "loras": "LORA"}


def add_fields(parser: argparse.ArgumentParser) -> None:
    """The flags of every field, --preset, --request, --workflow and --set."""
    parser.add_argument("--preset", metavar="NAME", help="start from a preset")
    parser.add_argument("--request", type=Path, metavar="FILE.json", help="then take the fields of this file")
    parser.add_argument(
        "--workflow",
        type=Path,
        metavar="FILE",
        help="then the settings of a ComfyUI workflow: its json, or a picture or video made with it; its "
        "pictures and sounds are looked for beside it",
    )
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="any field, by name or alias"
    )
    for row in ALL_FIELDS.values():
        if row.flag is None:
            continue
        words = row.help.replace("%", "%%")
        if row.kind == "bool":
            parser.add_argument(row.flag, dest=row.name, action="store_const", const=True, help=words)
        elif row.kind in _LISTS:
            metavar = _METAVARS[row.kind]
            parser.add_argument(
                row.flag, dest=row.name, action="extend", nargs="+", metavar=metavar, help=words
            )
        else:
            parser.add_argument(row.flag, dest=row.name, metavar=_METAVARS.get(row.kind, "VALUE"), help=words)


def read_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Field -> value: the workflow's, then flags, then --set in the order given; the last word on a field
    counts. What became of the workflow's values is told on stderr.
    """
    flags = _read_flags(arguments)
    return flags if arguments.workflow is None else {**_read_workflow(arguments.workflow, flags), **flags}


def _read_workflow(path: Path, flags: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a workflow; a length is left out where a flag gives one in whichever way."""
    places = {name: flags[name] for name in ("models_dir",) if name in flags}
    found = import_workflow(path, model_folders(read_options(places)), [path.parent])
    told = [f"Workflow {path.name}: {found.count(TAKEN)} settings taken."]
    for line in found.not_taken():
        value = f" {line.widget} = {line.shown_value}" if line.widget else ""
        told.append(f"Not taken, {line.node}{value}: {line.detail}.")
    sys.stderr.write("".join(f"{sentence}\n" for sentence in told))
    has_length = any(flags.get(name) is not None for name in LENGTHS)
    return {name: value for name, value in found.values.items() if not (has_length and name in LENGTHS)}


def _read_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    given = vars(arguments)
    values = read_values(
        ALL_FIELDS, {name: given[name] for name in ALL_FIELDS if given.get(name) is not None}
    )
    for setting in arguments.set:
        name, equals, value = setting.partition("=")
        if not equals:
            raise UserError("--set needs FIELD=VALUE", value=setting)
        values |= read_values(ALL_FIELDS, {name: _structured(value)})
    return values


def _structured(text: str) -> Any:
    """The list that a text in JSON's brackets stands for (files, boxes, numbers), else the text itself."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except ValueError:
        return text
