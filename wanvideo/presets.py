"""What a person starts from: presets (the folder `presets`), request files, and how such layers are joined.

A preset is a partial request and partial options; the planner fills in the rest. A field that is null in it
goes back to its default. Paths in it start at the project's folder, so that a bundled preset works from any
working directory.
"""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.fields import Row, read_values
from wanvideo.request import (
    OPTION_FIELDS,
    REQUEST_FIELDS,
    TASKS,
    GenerationRequest,
    RuntimeOptions,
    read_options,
    read_request,
)

PROJECT = Path(__file__).parents[1]
PRESETS = PROJECT / "presets"
ALL_FIELDS: Mapping[str, Row] = {**REQUEST_FIELDS, **OPTION_FIELDS}
OWN = "own"
GROUPS = ("tier", "card", "purpose", "workflow", "demo", OWN)
_WORDS = ("label", "description", "hint")
_TRANSLATED = "words"  # of bundled presets; nobody is asked to write it
_PARTS = (*_WORDS, "group", "tier", "cards", "request", "tasks", "options")
_LENGTHS = {"num_frames", "seconds"}  # two ways to say one thing
_NAME = re.compile(r"\w[\w -]{0,47}")
_DEVICES = {"con", "prn", "aux", "nul", *(f"{port}{i}" for port in ("com", "lpt") for i in range(10))}


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """One file. `request`, `tasks` and `options` are partial and checked: canonical names, absolute paths.

    `tasks` are those that it is made for, each with its part of the request; when it is empty the preset
    serves any task, or the one that `request` names. `hint` is advice that no field holds. `words` are label,
    description and hint in other languages: code of the language -> part -> words. `tier` is the nominal
    memory in GB from which it is meant, `cards` are the cards it is named after.
    """

    name: str
    label: str
    description: str
    hint: str = ""
    words: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    group: str = OWN
    tier: int | None = None
    cards: tuple[str, ...] = ()
    request: Mapping[str, Any]
    tasks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    options: Mapping[str, Any]

    def is_for(self, task: str) -> bool:
        """Whether it was made for the task."""
        if self.tasks:
            return task in self.tasks
        return self.request.get("task") in (task, None)

    def layers(self, task: str | None = None) -> list[Mapping[str, Any]]:
        """What it says for a task, as `join_layers` takes it; None is the task that the preset itself
        names.
        """
        asked = task or self.request.get("task", REQUEST_FIELDS["task"].default)
        return [self.request, self.tasks.get(asked, {}), self.options]

    def named(self, task: str) -> dict[str, Any]:
        """Field -> value of all that it says for a task."""
        return {name: value for layer in self.layers(task) for name, value in layer.items()}


def load_preset(name: str, folder: Path = PRESETS) -> Preset:
    """The preset of that name. Raises UserError for an unknown name (with near ones) or a faulty file."""
    names = preset_names(folder)
    if name not in names:
        near = difflib.get_close_matches(name, names, n=3)
        raise UserError("unknown preset", value=name, allowed=near or names or "none is installed")
    path = folder / f"{name}.json"
    written = _read_object(path, "preset")
    try:
        return _read_preset(name, written)
    except UserError as error:
        raise UserError(f"preset {path.name}: {error}".rstrip(".")) from error


def list_presets(folder: Path = PRESETS) -> list[Preset]:
    """Every preset of the folder, by name. Raises UserError for a faulty file."""
    return [load_preset(name, folder) for name in preset_names(folder)]


def preset_names(folder: Path = PRESETS) -> list[str]:
    """The names there are, sorted; nothing is read."""
    return sorted(path.stem for path in folder.glob("*.json"))


def save_preset(label: str, task: str, values: Mapping[str, Any], folder: Path) -> Preset:
    """Write what `values` (fields of request and options, JSON-ready) say for a task; one of the same name is
    replaced. Raises UserError for a label that can't be a file's name, a bundled preset's name, a bad value,
    or a folder that can't be written.
    """
    name = _file_name(label)
    asked = {key: value for key, value in values.items() if key in REQUEST_FIELDS}
    opted = {key: value for key, value in values.items() if key not in REQUEST_FIELDS}
    written = {"label": label.strip(), "group": OWN, "tasks": {task: asked}, "options": opted}
    preset = _read_preset(name, written)
    fresh = folder / f"{name}.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh.write_text(json.dumps(written, indent=2, ensure_ascii=False), encoding="utf-8")
        fresh.replace(folder / f"{name}.json")
    except OSError as error:
        raise UserError(f"the preset can't be written: {error.strerror}", value=str(folder)) from error
    return preset


def delete_preset(name: str, folder: Path) -> None:
    """Remove a preset of a person's own folder. Raises UserError when there is none of that name."""
    if name not in preset_names(folder):
        raise UserError("there is no preset of your own with this name", value=name)
    (folder / f"{name}.json").unlink()


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
        if any(layer.get(name) is not None for name in _LENGTHS):
            values = {name: value for name, value in values.items() if name not in _LENGTHS}
        values |= layer
    options = {name: values.pop(name) for name in OPTION_FIELDS if name in values}
    return read_request(values), read_options(options)


def _file_name(label: str) -> str:
    """The name under which a preset of that label is kept."""
    name = label.strip()
    if not _NAME.fullmatch(name) or name.casefold() in _DEVICES:
        allowed = "up to 48 letters, digits, spaces, - and _"
        raise UserError("a preset can't have this name", value=label, allowed=allowed)
    if name.casefold() in {known.casefold() for known in preset_names()}:
        raise UserError("a bundled preset has this name", value=label, fix="Choose another one.")
    return name


def _read_preset(name: str, written: Mapping[str, Any]) -> Preset:
    if unknown := sorted(set(written) - {*_PARTS, _TRANSLATED}):
        raise UserError("unknown part", value=unknown[0], allowed=_PARTS)
    tasks, tier, cards = written.get("tasks", {}), written.get("tier"), written.get("cards", [])
    if written.get("group", OWN) not in GROUPS:
        raise UserError("unknown group", value=written["group"], allowed=GROUPS)
    if not isinstance(tasks, dict) or not tasks.keys() <= set(TASKS):
        raise UserError("tasks must be a JSON object with a part for each", value=tasks, allowed=TASKS)
    if not isinstance(tier, int | None) or not isinstance(cards, list):
        raise UserError("tier must be a whole number and cards a list", value=[tier, cards])
    return Preset(
        name=name,
        label=str(written.get("label", name)),
        description=str(written.get("description", "")),
        hint=str(written.get("hint", "")),
        words=_read_words(written.get(_TRANSLATED, {})),
        group=written.get("group", OWN),
        tier=tier,
        cards=tuple(map(str, cards)),
        request=_read_part(REQUEST_FIELDS, written.get("request", {})),
        tasks={task: _read_part(REQUEST_FIELDS, part) for task, part in tasks.items()},
        options=_read_part(OPTION_FIELDS, written.get("options", {})),
    )


def _read_words(written: Any) -> dict[str, dict[str, str]]:
    if not isinstance(written, dict) or not all(
        isinstance(words, dict) and words.keys() <= set(_WORDS) for words in written.values()
    ):
        raise UserError("words must be a JSON object with a part for each language", allowed=_WORDS)
    return {
        language: {part: str(text) for part, text in words.items()} for language, words in written.items()
    }


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
        raise UserError("request, options and each of tasks must be JSON objects", value=type(part).__name__)
    return {name: _absolute(table[name], value) for name, value in read_values(table, part).items()}


def _absolute(row: Row, value: Any) -> Any:
    if row.kind == "path" and value is not None:
        return str(PROJECT / value)
    if row.kind == "paths":
        return tuple(str(PROJECT / path) for path in value)
    return value
