"""A value that a node has for a field, and what nodes are read in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from wanvideo.workflow.graph import Graph, Node
from wanvideo.workflow.model_files import ModelFiles
from wanvideo.workflow.report import LEFT, Line
from wanvideo.workflow.tracing import Uses


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A value for a field (or one of the pseudo fields of `rows`), and the line that it will have."""

    field: str
    value: Any
    line: Line
    weak: bool = False


Found: TypeAlias = Finding | Line


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What a node's values are read in: the graph and what leads where in it, the model files, and the
    folders in which its pictures and sounds may be.
    """

    graph: Graph
    uses: Uses
    files: ModelFiles
    inputs: Sequence[Path] = ()


def first_line(node: Node, widget: str, value: Any) -> Line:
    """The line of a value before it is known what becomes of it."""
    return Line(node=node.label, widget=widget, value=value, outcome=LEFT, detail="")
