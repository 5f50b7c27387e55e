"""What a row of the node tables says: a node's widgets in their order, and where each value goes."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from wanvideo.errors import UserError

INT, NUMBER, SWITCH, TEXT, NUMBERS = "a whole number", "a number", "true or false", "text", "numbers"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


SHAPES: Mapping[str, Callable[[Any], bool]] = {
    INT: lambda value: _is_number(value) and (isinstance(value, int) or value.is_integer()),
    NUMBER: _is_number,
    SWITCH: lambda value: isinstance(value, bool),
    TEXT: lambda value: isinstance(value, str),
    NUMBERS: lambda value: _is_number(value) or isinstance(value, list),
}

# Pseudo fields, joined to real ones when a workflow is settled.
SPACING = "spacing"  # of the sigmas: the second half of a sampler's name
SPEECH = ("speech 1", "speech 2")  # a sound file each


class Leave(Exception):
    """Raised by a `read`: the value needs no field, for the reason `why`."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


@dataclass(frozen=True, slots=True, kw_only=True)
class Widget:
    """One widget. It goes to `field`, or, by what the node's output is used for, to one of `roles` (input
    name -> field); `says` is why it goes nowhere.

    `read` makes the field's value of the node's; it raises UserError for one that has no counterpart, and
    Leave. `file`: a model file of that component ("lora": with the strength in the widget `strength`), or
    INPUT. A `weak` value gives way to one of another node. `images_from`: it counts only where the node's
    images come straight from a node of these kinds.
    """

    name: str
    shape: str
    roles: Mapping[str, str] = field(default_factory=dict)
    field: str = ""
    says: str = ""
    read: Callable[[Any], Any] = lambda value: value
    file: str = ""
    strength: str = ""
    weak: bool = False
    images_from: frozenset[str] = frozenset()


INPUT = "input"  # of `file`: a picture, sound or video of the user


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRow:
    """A kind of node. `task` is the one that it is used for, `samples` that it makes the video, `sets` are
    fields that its mere presence sets, `says` tells of a node all or most of whose widgets need no field,
    `lacks` of one that does what this app can't.

    `speaks`: with it a video has speech. `lists_loras`: its values are objects {on, lora, strength}.
    """

    kinds: tuple[str, ...]
    widgets: tuple[Widget, ...] = ()
    task: str = ""
    samples: bool = False
    speaks: bool = False
    lists_loras: bool = False
    sets: Mapping[str, Any] = field(default_factory=dict)
    says: str = ""
    lacks: str = ""


def by_kind(rows: Iterable[NodeRow]) -> dict[str, NodeRow]:
    """Kind -> row. Raises ValueError for a kind in two rows."""
    pairs = [(kind, row) for row in rows for kind in row.kinds]
    table = dict(pairs)
    if len(table) < len(pairs):
        raise ValueError("a kind of node has two rows")
    return table


def to(name: str, shape: str, field: str = "", **rest: Any) -> Widget:
    """A widget that goes to a field, of its own name unless another is given."""
    return Widget(name=name, shape=shape, field=field or name, **rest)


def other(name: str, shape: str, says: str) -> Widget:
    """A widget that has no field."""
    return Widget(name=name, shape=shape, says=says)


def usual(name: str, shape: str, value: Any, says: str) -> Widget:
    """A widget without a field of which the app has only this one value; `says` is told of any other."""

    def read(given: Any) -> Any:
        if given != value:
            raise UserError(says)

    return Widget(name=name, shape=shape, says="the usual value", read=read)


def when_on(value: Any, why: str) -> Callable[[Any], Any]:
    """Reads a switch whose off is no wish: off leaves the field alone."""

    def read(given: Any) -> Any:
        if given is False:
            raise Leave(why)
        return value

    return read


def by_table(table: Mapping[Any, Any], says: str) -> Callable[[Any], Any]:
    """Reads a word that stands for another here."""

    def read(value: Any) -> Any:
        if not isinstance(value, str) or value not in table:
            raise UserError(says, value=value, allowed=sorted(table))
        return table[value]

    return read
