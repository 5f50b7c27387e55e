"""Nodes that stand for a graph, unfolded: the inner nodes get the id of the outer one before their own."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from wanvideo.errors import UserError
from wanvideo.workflow.graph import check_count

DEEPEST = 8
MOST_WIRES = 50_000
SOURCE, TARGET = "-10", "-20"  # ids of the two inner nodes that stand for the outer one's inputs and outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """A link on the canvas: from output `slot` of a node to input `target_slot` of another."""

    origin: str
    slot: int
    target: str
    target_slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Every node as written, by its id, and every wire by its own. `folded`: ids of nodes whose inside is
    here as well.
    """

    nodes: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    wires: dict[str, Wire] = field(default_factory=dict)
    folded: set[str] = field(default_factory=set)


def unfold(document: Mapping[str, Any]) -> Canvas:
    """The whole canvas. Raises UserError for subgraphs in each other, or too many nodes."""
    canvas = Canvas()
    _add(canvas, document, "", _definitions(document), 0)
    return canvas


def _definitions(document: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    held = document.get("definitions")
    graphs = held.get("subgraphs") if isinstance(held, dict) else None
    return {str(graph.get("id")): graph for graph in dicts(graphs)}


def _add(
    canvas: Canvas,
    graph: Mapping[str, Any],
    prefix: str,
    definitions: Mapping[str, Mapping[str, Any]],
    depth: int,
) -> None:
    if depth > DEEPEST:
        raise UserError("the workflow's subgraphs are nested too deeply", allowed=f"{DEEPEST} levels")
    for written in dicts(graph.get("nodes")):
        id, kind = f"{prefix}{written.get('id')}", str(written.get("type"))
        canvas.nodes[id] = written
        check_count(len(canvas.nodes))
        if kind in definitions:
            canvas.folded.add(id)
            _add(canvas, definitions[kind], f"{id}:", definitions, depth + 1)
    links = graph.get("links")
    for link in links if isinstance(links, list) else ():
        _add_wire(canvas, link, prefix)
        if len(canvas.wires) > MOST_WIRES:
            raise UserError("the workflow has too many links", allowed=f"{MOST_WIRES} or fewer")


def _add_wire(canvas: Canvas, link: Any, prefix: str) -> None:
    """A list [id, origin, slot, target, slot, type] on the canvas, an object in a subgraph."""
    if isinstance(link, dict):
        names = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
        link = [link.get(name) for name in names]
    if not isinstance(link, list) or len(link) < 5 or type(link[2]) is not int or type(link[4]) is not int:
        return
    id, origin, slot, target, target_slot = link[:5]
    canvas.wires[f"{prefix}{id}"] = Wire(
        origin=f"{prefix}{origin}", slot=slot, target=f"{prefix}{target}", target_slot=target_slot
    )


def dicts(found: Any) -> Iterator[Mapping[str, Any]]:
    """The objects of what should be a list of them."""
    return (item for item in (found if isinstance(found, list) else ()) if isinstance(item, dict))
