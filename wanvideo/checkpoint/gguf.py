"""GGUF files are recognised, so that they can be named; their weights can't be used yet."""

import re
import struct
from pathlib import Path
from typing import NoReturn

from wanvideo.checkpoint.refusal import OTHER, UNREADABLE, RefusedCheckpoint

_ARCHITECTURE = b"general.architecture"
_HEAD = struct.Struct("<4sIQQQ")  # magic, version, tensors, entries, length of the first key
_STRING = 8  # number of the type that a string value has
_COMPONENTS = {"wan": "transformer", "t5": "text_encoder", "t5encoder": "text_encoder"}


def refuse_gguf(path: Path) -> NoReturn:
    """Raise RefusedCheckpoint with what the file would have been."""
    architecture = _architecture(path)
    component = UNREADABLE if architecture is None else _COMPONENTS.get(architecture, OTHER)
    if component == "transformer" and "infinitetalk" in path.name.lower():
        component = "infinitetalk"
    hint = re.search("[ti]2v", path.name.lower())  # only the name tells without reading every tensor's entry
    raise RefusedCheckpoint(
        f"{path.name} is a GGUF file; this format is not supported yet",
        component=component,
        task_hint=hint[0] if hint else None,
    )


def _architecture(path: Path) -> str | None:
    """The value of the first entry, general.architecture in every file that follows the specification."""
    with path.open("rb") as file:
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size or _HEAD.unpack(head)[-1] != len(_ARCHITECTURE):
            return None
        key, value = file.read(len(_ARCHITECTURE)), file.read(12)
        if key != _ARCHITECTURE or len(value) < 12:
            return None
        kind, length = struct.unpack("<IQ", value)
        return file.read(length).decode("utf-8", "replace") if kind == _STRING and length < 64 else None
