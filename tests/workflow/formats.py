"""A workflow written down once, and the formats that ComfyUI keeps it in."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Sketch:
    """A node: its widgets in their own order, and its links as input -> (node, slot)."""

    kind: str
    widgets: Mapping[str, Any] = field(default_factory=dict)
    links: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    mode: int = 0


Workflow = dict[str, Sketch]


def as_api(workflow: Workflow) -> dict[str, Any]:
    """As ComfyUI runs it: links in the place of values."""
    return {
        id: {
            "class_type": node.kind,
            "inputs": {**node.widgets, **{name: list(link) for name, link in node.links.items()}},
            "_meta": {"title": node.kind},
        }
        for id, node in workflow.items()
    }


def as_canvas(workflow: Workflow, *, names: bool = False) -> dict[str, Any]:
    """As ComfyUI shows it; with `names` as its newer versions do: the widgets stand among the inputs."""
    links: list[list[Any]] = []
    nodes = []
    for id, node in workflow.items():
        listed = {*node.links, *(node.widgets if names else ())}
        order = [*(name for name in node.links if name not in node.widgets)]
        order += [name for name in node.widgets if name in listed]
        inputs: list[dict[str, Any]] = []
        for name in order:
            entry: dict[str, Any] = {"name": name, "type": "ANY", "link": None}
            if name in node.widgets:
                entry["widget"] = {"name": name}
            if name in node.links:
                origin, slot = node.links[name]
                entry["link"] = len(links) + 1
                links.append([entry["link"], int(origin), slot, int(id), len(inputs), "ANY"])
            inputs.append(entry)
        outputs = [{"name": "out", "type": "ANY"}]
        written = {"id": int(id), "type": node.kind, "mode": node.mode, "inputs": inputs, "outputs": outputs}
        nodes.append({**written, "widgets_values": _positions(node.widgets)})
    return {"nodes": nodes, "links": links, "version": 0.4}


def _positions(widgets: Mapping[str, Any]) -> list[Any]:
    values: list[Any] = []
    for name, value in widgets.items():
        values += [value, "randomize"] if name in ("seed", "noise_seed") else [value]
    return values


FORMATS: dict[str, Callable[[Workflow], dict[str, Any]]] = {
    "api": as_api,
    "canvas": as_canvas,
    "canvas with names": lambda workflow: as_canvas(workflow, names=True),
    "wrapped": lambda workflow: {"prompt": as_api(workflow), "client_id": "me"},
}


def write(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path
