"""The flags of the field table on the command line, and what was given with them."""

import argparse
import json
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.presets import ALL_FIELDS

_LISTS = ("paths", "loras")
_METAVARS = {"path": "PATH", "int": "N", "auto_int": "N", "float": "X", "floats": "X", "name": "NAME"}
_METAVARS |= {"paths": "FILE", "loras": "LORA"}


def add_fields(parser: argparse.ArgumentParser) -> None:
    """The flags of every field, --preset, --request and --set."""
    parser.add_argument("--preset", metavar="NAME", help="start from a preset")
    parser.add_argument("--request", type=Path, metavar="FILE.json", help="then take the fields of this file")
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
    """Field -> value: flags, then --set in the order given; the last word on a field counts."""
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
