"""A node's values as findings, each a value for a field, and as lines of the report."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from wanvideo.errors import UserError
from wanvideo.workflow.file_values import (
    chosen_lora,
    input_file,
    listed_loras,
    means_no_file,
    model_file,
)
from wanvideo.workflow.findings import Finding, Found, Surroundings, first_line
from wanvideo.workflow.graph import Graph, Link, Node
from wanvideo.workflow.model_files import LORA
from wanvideo.workflow.report import LEFT, OTHERWISE, UNKNOWN, Line
from wanvideo.workflow.rows import INPUT, INT, NUMBER, SHAPES, Leave, NodeRow, Widget
from wanvideo.workflow.tracing import value_over

LONGEST_TEXT = 20_000


def read_node(node: Node, row: NodeRow, around: Surroundings) -> Iterator[Found]:
    """Everything that the node says, its values being named."""
    if row.lacks:
        yield Line(node=node.label, outcome=LEFT, detail=row.lacks)
        return
    if row.says:
        yield Line(node=node.label, outcome=OTHERWISE, detail=row.says)
    for field, value in row.sets.items():
        yield Finding(field=field, value=value, line=first_line(node, "", None))
    if row.lists_loras:
        yield from listed_loras(node, around.files)
        return
    for widget in row.widgets:
        yield from _read_widget(node, widget, around)
    yield from _unlisted(node, row)


def _unlisted(node: Node, row: NodeRow) -> Iterator[Line]:
    """Values under names that the table does not have."""
    known = {widget.name for widget in row.widgets}
    for name, value in () if row.says else node.values.items():
        if name not in known and value not in (None, "") and name not in node.links:
            detail = "this node is known, this value is not"
            yield Line(node=node.label, widget=name, value=value, outcome=UNKNOWN, detail=detail)


def _read_widget(node: Node, widget: Widget, around: Surroundings) -> Iterator[Found]:
    value = node.values.get(widget.name)
    if (link := node.links.get(widget.name)) is not None:
        given = value_over(around.graph, link)
        if given is None:
            yield from _computed(node, widget, link, around.graph)
            return
        value = given.value
    if value is None:
        return
    value, line = _shaped(widget, value), first_line(node, widget.name, value)
    if not SHAPES[widget.shape](value):
        yield replace(line, detail=f"it should be {widget.shape}")
    elif isinstance(value, str) and len(value) > LONGEST_TEXT:
        yield replace(line, detail=f"longer than {LONGEST_TEXT} letters")
    else:
        yield from _read_value(node, widget, replace(line, value=value), around)


def _computed(node: Node, widget: Widget, link: Link, graph: Graph) -> Iterator[Found]:
    """A linked widget whose value can't be told before the workflow runs."""
    if not widget.says:
        source = f"it is computed by {graph[link.node].label}" if link.node in graph else "its source is gone"
        yield Line(node=node.label, widget=widget.name, outcome=LEFT, detail=source)


def _shaped(widget: Widget, value: Any) -> Any:
    """A number that a helper node keeps as text is a number."""
    if isinstance(value, str) and widget.shape in (INT, NUMBER):
        try:
            return float(value) if "." in value else int(value)
        except ValueError:
            return value
    return value


def _read_value(node: Node, widget: Widget, line: Line, around: Surroundings) -> Iterator[Found]:
    if widget.file == LORA:
        yield from _lora(node, widget, line, around)
    elif widget.file == INPUT:
        yield from input_file(line, _roles(node, widget, around), around.inputs)
    elif widget.file:
        yield model_file(widget, line, around.files)
    elif widget.images_from and not _straight(node.links.get("images"), widget.images_from, around.graph):
        yield replace(line, detail="other nodes change the frames before")
    elif widget.field or widget.roles or widget.says:
        yield from _into_fields(node, widget, line, around)


def _into_fields(node: Node, widget: Widget, line: Line, around: Surroundings) -> Iterator[Found]:
    try:
        read = widget.read(line.value)
    except Leave as leave:
        yield replace(line, outcome=OTHERWISE, detail=leave.why)
        return
    except UserError as error:
        yield replace(line, detail=str(error).rstrip("."))
        return
    fields = [widget.field] if widget.field else _roles(node, widget, around)
    for field in fields:
        yield Finding(field=field, value=read, line=line, weak=widget.weak)
    if not fields:
        yield replace(line, outcome=OTHERWISE, detail=widget.says or "the video is not made from it")


def _roles(node: Node, widget: Widget, around: Surroundings) -> list[str]:
    return [widget.roles[name] for name in around.uses.roles(node.id, widget.roles)]


def _lora(node: Node, widget: Widget, line: Line, around: Surroundings) -> Iterator[Found]:
    """A LoRA with its strength, which stands in another widget."""
    strength: Any = node.values.get(widget.strength, 1.0)
    if (link := node.links.get(widget.strength)) is not None:
        given = value_over(around.graph, link)
        if given is None:
            detail = "its strength is computed in the workflow"
            yield replace(line, detail=detail)
            return
        strength = given.value
    if not means_no_file(line.value):
        yield chosen_lora(line, strength, around.files)


def _straight(link: Link | None, kinds: frozenset[str], graph: Graph) -> bool:
    return link is not None and link.node in graph and graph[link.node].kind in kinds
