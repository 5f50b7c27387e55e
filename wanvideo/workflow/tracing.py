"""What arrives over a link, and what the output of a node is used for."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from wanvideo.workflow.graph import Graph, Link
from wanvideo.workflow.helper_nodes import ENDS_OF_TRACE, VALUE_KINDS, VALUE_SLOTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """A literal value that a node hands on."""

    value: Any


def value_over(graph: Graph, link: Link) -> Given | None:
    """The literal that arrives; None for what is computed, or made by a node of another kind."""
    while (source := graph.get(link.node)) is not None:  # links run in no circle
        name = VALUE_SLOTS.get(source.kind, {}).get(link.slot)
        if name is None and source.kind not in VALUE_KINDS:
            return None
        further = source.links.get(name) if name else next(iter(source.links.values()), None)
        if further is None:
            given = [source.values.get(name)] if name else [*source.values.values(), *source.unnamed]
            return Given(value=given[0]) if given and given[0] is not None else None
        link = further
    return None


class Uses:
    """Which named inputs the outputs of each node reach. Found for all nodes at once, as a file may have
    thousands that ask.
    """

    def __init__(self, graph: Graph, alive: Iterable[str]) -> None:
        self._graph, self._alive = graph, list(alive)
        self._found: dict[frozenset[str], dict[str, set[str]]] = {}

    def roles(self, node: str, names: Iterable[str]) -> list[str]:
        """Those of `names` that the node reaches; beyond such an input nothing is followed."""
        wanted = frozenset(names)
        if wanted not in self._found:
            self._found[wanted] = self._find(wanted)
        return sorted(self._found[wanted].get(node, ()))

    def _find(self, wanted: frozenset[str]) -> dict[str, set[str]]:
        reached: dict[str, set[str]] = {}
        for id in reversed(self._alive):  # users before what they use
            user = self._graph[id]
            if user.kind in ENDS_OF_TRACE:
                continue
            beyond = reached.get(id, set())
            fed: dict[str, set[str]] = {}
            for name, link in user.links.items():
                fed.setdefault(link.node, set()).add(name)
            for source, inputs in fed.items():
                reached.setdefault(source, set()).update(inputs & wanted or beyond)
        return reached
