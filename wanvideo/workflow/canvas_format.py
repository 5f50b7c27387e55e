"""The format that ComfyUI shows: nodes with a list of widget values, and wires between them.

Nodes that only lead a link on (reroutes, Get and Set, bypassed ones, the borders of subgraphs) are seen
through, as ComfyUI does before it runs a workflow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from wanvideo.workflow.graph import Graph, Link, Node, make_graph
from wanvideo.workflow.naming import by_inputs
from wanvideo.workflow.subgraphs import SOURCE, TARGET, Canvas, Wire, dicts, unfold

MUTED, BYPASSED = 2, 4  # of a node's mode
_ASLEEP = {MUTED: "the node is muted", BYPASSED: "the node is bypassed"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Literal:
    """A value that stands on a subgraph's outside for a widget within."""

    value: Any


def read_canvas(document: Mapping[str, Any]) -> Graph:
    """The graph. Raises UserError for links in a circle, subgraphs in each other and too many nodes."""
    reader = _Reader(unfold(document))
    return make_graph(reader.node(id) for id in reader.canvas.nodes if id not in reader.canvas.folded)


class _Reader:
    """A canvas with what is looked up in it again and again."""

    def __init__(self, canvas: Canvas) -> None:
        self.canvas = canvas
        self._ends = {(wire.target, wire.target_slot): wire for wire in canvas.wires.values()}
        self._origins: dict[tuple[str, int], Link | Literal | None] = {}
        setters = ((id, node) for id, node in canvas.nodes.items() if node.get("type") == "SetNode")
        self._setters = {_first_value(node): id for id, node in setters}

    def node(self, id: str) -> Node:
        """A node with its values by name where the file names them."""
        written = self.canvas.nodes[id]
        named, unnamed = _values(written)
        links: dict[str, Link] = {}
        for slot, entry in enumerate(_inputs(written)):
            origin = self._origin(self._ends.get((id, slot)))
            if isinstance(origin, Literal):
                named[_name(entry)] = origin.value
            elif origin is not None:
                links[_name(entry)] = origin
        asleep = _ASLEEP.get(_mode(written), "")
        kind = str(written.get("type"))
        return Node(id=id, kind=kind, values=named, unnamed=tuple(unnamed), links=links, asleep=asleep)

    def _origin(self, wire: Wire | None) -> Link | Literal | None:
        """The node that really feeds a wire; None where none does. Known for all wires that it comes past."""
        past: dict[tuple[str, int], None] = {}
        found: Link | Literal | None = None
        while wire is not None and (place := (wire.origin, wire.slot)) not in past:
            if place in self._origins:
                found = self._origins[place]
                break
            past[place] = None
            step = self._before(wire)
            if not isinstance(step, Wire):
                found = step
                break
            wire = step
        self._origins |= dict.fromkeys(past, found)
        return found

    def _before(self, wire: Wire) -> Wire | Link | Literal | None:
        """The wire before this one, where its origin only leads one on; else what feeds it."""
        outer, _, inner = wire.origin.rpartition(":")
        if inner == SOURCE:
            return self._ends.get((outer, wire.slot)) or self._outside(outer, wire.slot)
        if wire.origin in self.canvas.folded:
            return self._ends.get((f"{wire.origin}:{TARGET}", wire.slot))
        slot = self._passes(wire)
        if slot is not None:
            return self._ends.get(slot)
        is_muted = _mode(self.canvas.nodes.get(wire.origin, {})) == MUTED
        return None if is_muted else Link(node=wire.origin, slot=wire.slot)

    def _outside(self, outer: str, slot: int) -> Literal | None:
        """What stands on a subgraph's outside for an input without a link."""
        written = self.canvas.nodes.get(outer, {})
        names = [_name(entry) for entry in _inputs(written)]
        values, _ = _values(written)
        is_there = 0 <= slot < len(names) and names[slot] in values
        return Literal(value=values[names[slot]]) if is_there else None

    def _passes(self, wire: Wire) -> tuple[str, int] | None:
        """(node, input slot) that the origin of a wire leads on; None for a node that makes its output."""
        node = self.canvas.nodes.get(wire.origin, {})
        kind = node.get("type")
        if kind == "GetNode":
            return self._setters.get(_first_value(node), ""), 0
        if kind in ("Reroute", "SetNode"):
            return wire.origin, 0
        return (wire.origin, _alike(node, wire.slot)) if _mode(node) == BYPASSED else None


def _alike(node: Mapping[str, Any], slot: int) -> int:
    """The input that a bypassed node leads to this output: the first of its type; -1 for none."""
    outputs = list(dicts(node.get("outputs")))
    wanted = outputs[slot].get("type") if 0 <= slot < len(outputs) else None
    types = [entry.get("type") for entry in _inputs(node)]
    return types.index(wanted) if wanted in types else -1


def _values(written: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """(by name, those of which only the order is known)."""
    values = written.get("widgets_values")
    if isinstance(values, dict):
        return dict(values), []
    values = values if isinstance(values, list) else []
    names = [_name(entry) for entry in _inputs(written) if isinstance(entry.get("widget"), dict)]
    named = by_inputs(names, values)
    return (named, []) if named is not None else ({}, values)


def _inputs(written: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return list(dicts(written.get("inputs")))


def _name(entry: Mapping[str, Any]) -> str:
    """An input that is a widget goes by the widget's name."""
    widget = entry.get("widget")
    return str(widget.get("name") if isinstance(widget, dict) else entry.get("name"))


def _mode(written: Mapping[str, Any]) -> int:
    mode = written.get("mode")
    return mode if isinstance(mode, int) else 0


def _first_value(written: Mapping[str, Any]) -> str:
    values = written.get("widgets_values")
    return str(values[0]) if isinstance(values, list) and values else ""
