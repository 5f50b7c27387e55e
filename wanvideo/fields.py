"""The row type of the one field table: what a field is called, what it accepts, how a value is read from text
or JSON.
"""

import difflib
from collections.abc import Mapping
from dataclasses import Field as DataclassField
from dataclasses import dataclass, field, fields
from typing import Any

from wanvideo.errors import UserError


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraChoice:
    """A LoRA by file or name, and how strongly it works: a number, or one per step of the schedule."""

    file: str
    strength: float | tuple[float, ...] = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One field of a request or of the options, as the command line, the page, presets and error texts see
    it.

    `kind` is one of text, int, auto_int, float, floats, bool, choice, name, path, paths, boxes, loras.
    `auto_int` is "auto" or a whole number. `name` is a choice whose table is discovered later (samplers,
    backends), so it is checked by the planner. `tasks` is empty when every task has the field; `flag` is the
    long option of the command line, None when only `--set` reaches it. `value_aliases` are pairs (old name of
    a value, the value): read as the value, offered nowhere.
    """

    name: str
    kind: str
    default: Any
    label: str
    help: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    tasks: tuple[str, ...] = ()
    flag: str | None = None
    value_aliases: tuple[tuple[str, str], ...] = ()

    def is_for(self, task: str) -> bool:
        """Whether the task has this field."""
        return not self.tasks or task in self.tasks


def row(kind: str, default: Any, label: str, help: str, **rest: Any) -> Any:
    """A dataclass field that carries its table row; the row learns its name in `table_of`."""
    return field(default=default, metadata={"row": {"kind": kind, "label": label, "help": help, **rest}})


def table_of(kind: type[Any]) -> dict[str, Row]:
    """name -> Row for a dataclass whose fields were made by `row`."""
    return {item.name: _row_of(item) for item in fields(kind)}


def read_values(table: Mapping[str, Row], values: Mapping[str, Any]) -> dict[str, Any]:
    """Check and convert a partial mapping; keys may be aliases. Raises UserError for an unknown key or a bad
    value.
    """
    names = {alias: name for name, row_ in table.items() for alias in (name, *row_.aliases)}
    read: dict[str, Any] = {}
    for key, value in values.items():
        if key not in names:
            near = difflib.get_close_matches(key, names, n=3)
            raise UserError(
                "unknown setting", value=key, allowed=near or sorted(table), fix="Check the spelling."
            )
        name = names[key]
        if name in read:
            raise UserError(f"{name} is given twice", value=key, fix="Keep one of the two spellings.")
        read[name] = read_value(table[name], value)
    return read


def read_value(row_: Row, value: Any) -> Any:
    """`value` (text from a command line, or JSON) as the field's own type, within its bounds."""
    if value is None:
        return row_.default
    try:
        converted = _CONVERTERS[row_.kind](value)
    except (TypeError, ValueError, KeyError, OverflowError):
        raise UserError(f"{row_.name} must be {_DESCRIPTIONS[row_.kind]}", value=value) from None
    converted = next((value for old, value in row_.value_aliases if old == converted), converted)
    _check_bounds(row_, converted)
    return converted


def _row_of(item: "DataclassField[Any]") -> Row:
    return Row(name=item.name, default=item.default, **item.metadata["row"])


def _check_bounds(row_: Row, value: Any) -> None:
    if row_.choices and value not in row_.choices:
        raise UserError(f"{row_.name} is not one of its choices", value=value, allowed=row_.choices)
    for number in _numbers_of(value):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            too_low = row_.low is not None and number < row_.low
            too_high = row_.high is not None and number > row_.high
            if too_low or too_high or number != number:
                raise UserError(f"{row_.name} is out of range", value=number, allowed=_range_text(row_))


def _numbers_of(value: Any) -> tuple[Any, ...]:
    """Whatever bounds are about, with things that are no numbers among it."""
    if isinstance(value, LoraChoice):
        return _numbers_of(value.strength)
    return (
        tuple(part for item in value for part in _numbers_of(item)) if isinstance(value, tuple) else (value,)
    )


def _range_text(row_: Row) -> str:
    if row_.high is None:
        return f"{row_.low:g} or more"
    return f"{row_.low:g} to {row_.high:g}"


def _read_int(value: Any) -> int:
    if isinstance(value, bool) or (isinstance(value, float) and not value.is_integer()):
        raise ValueError(value)
    return int(value)


def _read_auto_int(value: Any) -> int | str:
    """A whole number, or "auto"; "off" is 0."""
    word = value.strip().lower() if isinstance(value, str) else ""
    if word == "off":
        return 0
    return word if word == "auto" else _read_int(value)


def _read_float(value: Any) -> float:
    if isinstance(value, bool):
        raise ValueError(value)
    return float(value)


def _read_floats(value: Any) -> float | tuple[float, ...]:
    """A number, or one number per step."""
    if isinstance(value, str) and "," in value:
        value = value.split(",")
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError(value)
        return tuple(_read_float(item) for item in value)
    return _read_float(value)


def _read_bool(value: Any) -> bool:
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    if isinstance(value, bool):
        return value
    if str(value).lower() not in words:
        raise ValueError(value)
    return words[str(value).lower()]


def _read_text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(value)
    return value


def _read_paths(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else list(value)
    return tuple(_read_text(item) for item in items)


def _read_boxes(value: Any) -> tuple[tuple[float, float, float, float], ...]:
    """[[x0, y0, x1, y1], ...] or "x0,y0,x1,y1; x0,y0,x1,y1"."""
    if isinstance(value, str):
        value = [part.split(",") for part in value.split(";") if part.strip()]
    boxes = tuple(tuple(_read_float(number) for number in box) for box in value)
    if any(len(box) != 4 or box[0] >= box[2] or box[1] >= box[3] for box in boxes):
        raise ValueError(value)
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes)


def _read_loras(value: Any) -> tuple[LoraChoice, ...]:
    """[{"file": ..., "strength": ...}, ...]; a text is FILE or FILE:STRENGTH, like a.safetensors:0.8."""
    items = [value] if isinstance(value, (str, Mapping)) else list(value)
    return tuple(_read_lora(item) for item in items)


def _read_lora(item: Any) -> LoraChoice:
    if isinstance(item, LoraChoice):
        return item
    if isinstance(item, Mapping):
        if not item.keys() <= {"file", "strength"}:
            raise ValueError(item)
        return LoraChoice(file=_named(item["file"]), strength=_read_floats(item.get("strength", 1.0)))
    file, _, strength = _read_text(item).rpartition(":")
    try:
        return LoraChoice(file=_named(file), strength=_read_floats(strength))
    except ValueError:  # the colon of a Windows drive
        return LoraChoice(file=_named(item))


def _named(file: Any) -> str:
    if not _read_text(file).strip():
        raise ValueError(file)
    return str(file).strip()


_CONVERTERS = {
    "text": _read_text,
    "name": _read_text,
    "choice": _read_text,
    "path": _read_text,
    "paths": _read_paths,
    "int": _read_int,
    "auto_int": _read_auto_int,
    "float": _read_float,
    "floats": _read_floats,
    "bool": _read_bool,
    "boxes": _read_boxes,
    "loras": _read_loras,
}

_DESCRIPTIONS = {
    "text": "text",
    "name": "a name",
    "choice": "one of its choices",
    "path": "a file path",
    "paths": "a list of file paths",
    "int": "a whole number",
    "auto_int": "auto or a whole number",
    "float": "a number",
    "floats": "a number, or a list with one number per step",
    "bool": "true or false",
    "loras": "a list of LoRAs, each FILE, FILE:STRENGTH or {file, strength}",
    "boxes": "a list of boxes [x0, y0, x1, y1] with x0 < x1 and y0 < y1, in pixels of the picture",
}
