"""How a video was made, as pairs of a name and a value in the visitor's words."""

from pathlib import Path
from typing import Any, TypeAlias

from ui.cards import effective_name
from ui.fields import TABLE, label_of
from ui.texts import say
from wanvideo.fields import Row
from wanvideo.library.settings import VideoSettings
from wanvideo.request import REQUEST_FIELDS

Rows: TypeAlias = list[tuple[str, str]]


def asked_rows(settings: VideoSettings) -> Rows:
    """What was asked for, in the order of the form."""
    asked = settings.request
    return [(label_of(row), asked_value(row, asked[name])) for name, row in fields_of(settings)]


def fields_of(*settings: VideoSettings) -> list[tuple[str, Row]]:
    """The request fields that one of them names."""
    return [
        (name, row) for name, row in REQUEST_FIELDS.items() if any(name in one.request for one in settings)
    ]


def asked_value(row: Row, value: Any) -> str:
    """Of a request field."""
    return say(f"task_{value}") if row.name == "task" else shown_value(value)


def ran_rows(settings: VideoSettings) -> Rows:
    """What really ran."""
    return [(ran_name(name), value) for name, value in settings.effective.items()]


def ran_name(name: str) -> str:
    """That of the field that asks for it; in the metadata a space stands where its name has a line."""
    field = name.replace(" ", "_")
    return label_of(TABLE[field]) if field in TABLE else effective_name(field)


def shown_value(value: Any) -> str:
    """A file by its name, a LoRA with its strength."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(shown_value, value))
    if hasattr(value, "strength"):
        return f"{shown_value(value.file)} ({shown_value(value.strength)})"
    if isinstance(value, float):
        return f"{value:g}"
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else str(value)
