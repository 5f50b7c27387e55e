"""The values of a node by the names of its widgets, where a file has only their order.

A seed has a second value behind it, what the page does with it after a run, which no table names.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from wanvideo.workflow.graph import Node
from wanvideo.workflow.report import LEFT, UNKNOWN, Line
from wanvideo.workflow.rows import SHAPES, NodeRow, Widget

SEEDS = ("seed", "noise_seed")
AFTER_RUN = ("fixed", "increment", "decrement", "randomize")


def by_inputs(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any] | None:
    """Values by the names that the file itself gives; None when the two don't match in number.

    Older files name only those widgets that were made inputs.
    """
    left, named = list(values), {}
    for name in names:
        if not left:
            return None
        named[name] = left.pop(0)
        _drop_after_run(name, left)
    return named if names and not left else None


def with_names(node: Node, row: NodeRow) -> tuple[Node, list[Line]]:
    """The node with its unnamed values named by the table, and lines for those that can't be."""
    if not node.unnamed or not row.widgets:
        return node, []
    matched = _by_position(row.widgets, node.unnamed)
    if matched is None:
        detail = "these values stand in the order of another version of this node"
        return node, [Line(node=node.label, value=list(node.unnamed), outcome=LEFT, detail=detail)]
    named, beyond = matched
    lines = [
        Line(node=node.label, value=value, outcome=UNKNOWN, detail="a value of another version of this node")
        for value in beyond
        if value not in (None, "") and not row.says
    ]
    return replace(node, values={**named, **node.values}, unnamed=()), lines


def _by_position(widgets: Sequence[Widget], values: Sequence[Any]) -> tuple[dict[str, Any], list[Any]] | None:
    """(values by the table's names, what is beyond the table); None when a value has a shape that its place
    can't have: the order is then that of another version, and nothing in it can be trusted.
    """
    left, named = list(values), {}
    for widget in widgets:
        if not left:
            break
        if left[0] is not None and not SHAPES[widget.shape](left[0]):
            return None
        named[widget.name] = left.pop(0)
        _drop_after_run(widget.name, left)
    return named, left


def _drop_after_run(name: str, left: list[Any]) -> None:
    if name in SEEDS and left and left[0] in AFTER_RUN:
        left.pop(0)
