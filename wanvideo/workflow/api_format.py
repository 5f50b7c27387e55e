"""The format that ComfyUI runs: {id: {"class_type": ..., "inputs": {name: value or [id, slot]}}}."""

from collections.abc import Mapping
from typing import Any

from wanvideo.workflow.graph import Graph, Link, Node, make_graph


def read_api(document: Mapping[str, Any]) -> Graph:
    """The graph. Raises UserError for links in a circle and too many nodes."""
    return make_graph(_node(id, node, document) for id, node in document.items())


def _node(id: str, written: Mapping[str, Any], document: Mapping[str, Any]) -> Node:
    inputs = written.get("inputs")
    inputs = inputs if isinstance(inputs, dict) else {}
    links = {name: link for name, value in inputs.items() if (link := _link(value, document)) is not None}
    values = {name: value for name, value in inputs.items() if name not in links}
    return Node(id=id, kind=written["class_type"], values=values, links=links)


def _link(value: Any, document: Mapping[str, Any]) -> Link | None:
    """A list may also be a value: a strength per step."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    node, slot = value
    if not isinstance(node, str) or type(slot) is not int or node not in document:
        return None
    return Link(node=node, slot=slot)
