"""Values that name files: models and LoRAs of the model folders, a person's pictures, sounds and videos."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from wanvideo.workflow.findings import Finding, Found, first_line
from wanvideo.workflow.graph import Node
from wanvideo.workflow.model_files import LORA, MODEL, ModelFiles, base_name
from wanvideo.workflow.report import LEFT, MISSING, OTHERWISE, Line
from wanvideo.workflow.rows import Widget

_NO_FILE = ("", "none")
_NOT_FOUND = "no such file in the model folders; nothing is set"


def means_no_file(value: str) -> bool:
    """Whether a list of files was left at its first entry."""
    return base_name(value).lower() in _NO_FILE


def model_file(widget: Widget, line: Line, files: ModelFiles) -> Found:
    """A diffusion model goes to its field; of another file it is only told whether it is here."""
    if widget.file == MODEL:
        name = _named(MODEL, line, files)
        return name if isinstance(name, Line) else Finding(field=widget.field, value=name, line=line)
    if base_name(line.value).lower() not in files.companions:
        return _not_here(line, files)
    detail = "it is here; the app takes the file that fits the model"
    return replace(line, outcome=OTHERWISE, detail=detail)


def chosen_lora(line: Line, strength: Any, files: ModelFiles) -> Found:
    """One LoRA of the list."""
    if strength == 0:
        return replace(line, outcome=OTHERWISE, detail="at strength 0 it does nothing")
    name = _named(LORA, line, files)
    if isinstance(name, Line):
        return name
    shown = replace(line, value=f"{line.value}, strength {strength}")
    return Finding(field="loras", value={"file": name, "strength": strength}, line=shown)


def listed_loras(node: Node, files: ModelFiles) -> Iterator[Found]:
    """Values that are objects {on, lora, strength}, under any name."""
    for value in (*node.values.values(), *node.unnamed):
        if not isinstance(value, dict) or value.get("on") is not True:
            continue
        file = value.get("lora")
        if isinstance(file, str) and not means_no_file(file):
            yield chosen_lora(first_line(node, "lora", file), value.get("strength", 1.0), files)


def input_file(line: Line, fields: Sequence[str], folders: Sequence[Path]) -> Iterator[Found]:
    """A picture, sound or video, found by its base name."""
    if not fields:
        yield replace(line, outcome=OTHERWISE, detail="the video is not made from it")
        return
    name = base_name(line.value)
    path = next((folder / name for folder in folders if name and (folder / name).is_file()), None)
    if path is None:
        yield replace(line, outcome=MISSING, detail=f"add this file yourself, as {' and '.join(fields)}")
        return
    for field in fields:
        yield Finding(field=field, value=str(path), line=line)


def _named(component: str, line: Line, files: ModelFiles) -> str | Line:
    """The name that a request uses for the file, or the line that says why there is none."""
    names = files.named[component].get(base_name(line.value).lower(), ())
    if len(names) > 1:
        return replace(line, outcome=LEFT, detail=f"several files have this name: {', '.join(names)}")
    return names[0] if names else _not_here(line, files)


def _not_here(line: Line, files: ModelFiles) -> Line:
    refused = files.refused.get(base_name(line.value).lower())
    return replace(line, outcome=MISSING, detail=refused.rstrip(".") if refused else _NOT_FOUND)
