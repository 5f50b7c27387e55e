"""What a person starts from: presets (the folder `presets`), request files, and how such layers are joined.

A preset is a partial request and partial options; the planner fills in the rest. Paths in it start at the
project's folder, so that a bundled preset works from any working directory.
"""

import difflib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.fields import Row, read_values
from wanvideo.request import (
    OPTION_FIELDS,
    REQUEST_FIELDS,
    GenerationRequest,
    RuntimeOptions,
    read_options,
    read_request,
)

PROJECT = Path(__file__).parents[1]
PRESETS = PROJECT / "presets"
ALL_FIELDS: Mapping[str, Row] = {**REQUEST_FIELDS, **OPTION_FIELDS}
_PARTS = ("label", "description", "request", "options")
_LENGTHS = {"num_frames", "seconds"}  # two ways to say one thing


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One file. `request` and `options` are partial and checked: canonical names, absolute paths."""

    name: str
    label: str
    description: str
    request: Mapping[str, Any]
    options: Mapping[str, Any]


def load_preset(name: str, folder: Path = PRESETS) -> Preset:
    """The preset of that name. Raises UserError for an unknown name (with near ones) or a faulty file."""
    names = preset_names(folder)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        raise UserError("unknown preset", value=name, allowed=near or names or "none is installed")
    path = folder / f"{name}.json"
    written = _read_object(path, "preset")
    try:
        if unknown := sorted(set(written) - set(_PARTS)):
            raise UserError("unknown part", value=unknown[0], allowed=_PARTS)
        return Preset(
            name=name,
            label=str(written.get("label", name)),
            description=str(written.get("description", "")),
            request=_read_part(REQUEST_FIELDS, written.get("request", {})),
            options=_read_part(OPTION_FIELDS, written.get("options", {})),
        )
    except UserError as error:
        raise UserError(f"preset {path.name}: {error}".rstrip(".")) from error


def list_presets(folder: Path = PRESETS) -> list[Preset]:
    """Every preset of the folder, by name. Raises UserError for a faulty file."""
    return [load_preset(name, folder) for name in preset_names(folder)]


def preset_names(folder: Path = PRESETS) -> list[str]:
    """The names there are, sorted; nothing is read."""
    return sorted(path.stem for path in folder.glob("*.json"))


def read_request_file(path: Path) -> dict[str, Any]:
    """Checked fields of a JSON file: a flat object, or one with "request" and "options" as in a preset.

    Raises UserError. Paths in it are left as they are: they start at the working directory, as flags do.
    """
    written = _read_object(path, "request file")
    parts = [written.pop(name) for name in ("request", "options") if isinstance(written.get(name), dict)]
    return read_values(ALL_FIELDS, {key: value for part in (written, *parts) for key, value in part.items()})


def join_layers(layers: Iterable[Mapping[str, Any]]) -> tuple[GenerationRequest, RuntimeOptions]:
    """One request from partial ones with canonical names; a later layer replaces what it names."""
    values: dict[str, Any] = {}
    for layer in layers:
        if _LENGTHS & layer.keys():
            values = {name: value for name, value in values.items() if name not in _LENGTHS}
        values |= layer
    options = {name: values.pop(name) for name in OPTION_FIELDS if name in values}
    return read_request(values), read_options(options)


def _read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file a person may have written. Raises UserError naming the file and the fault."""
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{what} {path.name!r} cannot be read: there is no such file") from None
    except OSError as error:
        raise UserError(f"{what} {path.name!r} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, or not JSON
        raise UserError(f"{what} {path.name!r} is not JSON: {error}") from error
    if not isinstance(written, dict):
        raise UserError(f"{what} {path.name!r} must hold a JSON object", value=type(written).__name__)
    return written


def _read_part(table: Mapping[str, Row], part: Any) -> dict[str, Any]:
    if not isinstance(part, dict):
        raise UserError("request and options must be JSON objects", value=type(part).__name__)
    return {name: _absolute(table[name], value) for name, value in read_values(table, part).items()}


def _absolute(row: Row, value: Any) -> Any:
    if row.kind == "path" and value is not None:
        return str(PROJECT / value)
    if row.kind == "paths":
        return tuple(str(PROJECT / path) for path in value)
    return value
