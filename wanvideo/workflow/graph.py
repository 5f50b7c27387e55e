"""Nodes and their links, whichever format they were read from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from wanvideo.errors import UserError

MOST_NODES = 5000


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Where an input comes from: output `slot` of a node."""

    node: str
    slot: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """`values` are literal, by widget name; `unnamed` are those of which only the order is known. An input
    that is linked can have a value too, which then does not count. `asleep` says why it does not run.
    """

    id: str
    kind: str
    values: Mapping[str, Any] = field(default_factory=dict)
    unnamed: tuple[Any, ...] = ()
    links: Mapping[str, Link] = field(default_factory=dict)
    asleep: str = ""

    @property
    def label(self) -> str:
        """As a person finds it: kind and number."""
        return f"{self.kind} {self.id}"


Graph: TypeAlias = Mapping[str, Node]


def make_graph(nodes: Iterable[Node]) -> Graph:
    """The nodes by id, sources first; links to nodes that are not there are left out.

    Raises UserError for too many nodes and for links that run in a circle.
    """
    by_id = {node.id: node for node in nodes}
    check_count(len(by_id))
    needs = {id: _sources(node) & by_id.keys() for id, node in by_id.items()}
    users: dict[str, list[str]] = {id: [] for id in by_id}
    for id, sources in needs.items():
        for source in sources:
            users[source].append(id)
    waiting = {id: len(sources) for id, sources in needs.items()}
    ready = [id for id, count in waiting.items() if not count]
    for id in ready:  # grows while it is walked
        for user in users[id]:
            waiting[user] -= 1
            if not waiting[user]:
                ready.append(user)
    if len(ready) < len(by_id):
        circle = next(id for id in by_id if waiting[id])
        raise UserError("the workflow's links run in a circle", value=by_id[circle].label[:60])
    return {id: by_id[id] for id in ready}


def check_count(nodes: int) -> None:
    """Raises UserError for more nodes than any workflow has."""
    if nodes > MOST_NODES:
        raise UserError("the workflow has too many nodes", value=nodes, allowed=f"{MOST_NODES} or fewer")


def taking_part(graph: Graph, roots: Iterable[str]) -> set[str]:
    """The nodes that a run would need for the roots and for what is made of them."""
    users: dict[str, set[str]] = {id: set() for id in graph}
    needs = {id: _sources(node) & graph.keys() for id, node in graph.items()}
    for id, sources in needs.items():
        for source in sources:
            users[source].add(id)
    return _reached(_reached(roots, users), needs)


def _sources(node: Node) -> set[str]:
    return {link.node for link in node.links.values()}


def _reached(starts: Iterable[str], next_of: Mapping[str, set[str]]) -> set[str]:
    reached, open_ = set(starts), list(starts)
    while open_:
        fresh = next_of[open_.pop()] - reached
        reached |= fresh
        open_ += fresh
    return reached
