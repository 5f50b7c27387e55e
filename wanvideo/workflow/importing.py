"""A ComfyUI workflow as settings: read, traced, settled, with a line for every value.

Known values go to their fields. What does not fit is listed and never guessed. Of what a workflow names, only
files in the model folders and in the folders for inputs are looked for.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from wanvideo.errors import UserError
from wanvideo.request import TASKS
from wanvideo.workflow import helper_nodes, native_nodes, wrapper_nodes, wrapper_sampling_nodes
from wanvideo.workflow.api_format import read_api
from wanvideo.workflow.canvas_format import read_canvas
from wanvideo.workflow.document import is_api, read_document
from wanvideo.workflow.findings import Finding, Found, Surroundings
from wanvideo.workflow.graph import Graph, Node, taking_part
from wanvideo.workflow.model_files import find_model_files
from wanvideo.workflow.naming import with_names
from wanvideo.workflow.reading import read_node
from wanvideo.workflow.report import TAKEN, UNKNOWN, UNUSED, Line, WorkflowImport, sorted_lines
from wanvideo.workflow.rows import by_kind
from wanvideo.workflow.settling import settle
from wanvideo.workflow.tracing import Uses

_TABLES = (wrapper_nodes, wrapper_sampling_nodes, native_nodes, helper_nodes)
ROWS = by_kind(row for table in _TABLES for row in table.ROWS)


def import_workflow(path: str | Path, folders: Sequence[Path], inputs: Sequence[Path] = ()) -> WorkflowImport:
    """The settings in a workflow's file (json, or a picture or video that ComfyUI made).

    `folders` are the model folders. `inputs` are folders in which its pictures, sounds and videos are looked
    for. Raises UserError for a file that holds no Wan workflow, or a hostile one.
    """
    document = read_document(path)
    graph, misnamed = _named(read_api(document) if is_api(document) else read_canvas(document))
    alive, asleep = _awake(graph)
    around = Surroundings(
        graph=graph, uses=Uses(graph, alive), files=find_model_files(folders), inputs=tuple(inputs)
    )
    found = [item for id in alive for item in _read(graph[id], around)]
    findings = [item for item in found if isinstance(item, Finding)]
    lines = [item for item in found if isinstance(item, Line)] + asleep
    lines += [line for id in alive for line in misnamed.get(id, ())]
    task = _task(graph, alive)
    speaks = any(ROWS[graph[id].kind].speaks for id in alive if graph[id].kind in ROWS)
    values, settled = settle(findings, task, speaks=speaks)
    if task is not None:
        values = {"task": task, **values}
        settled.insert(0, Line(node="the nodes together", value=task, outcome=TAKEN, detail="task"))
    return WorkflowImport(values=values, lines=sorted_lines([*settled, *lines]))


def _named(graph: Graph) -> tuple[Graph, Mapping[str, Sequence[Line]]]:
    """(the graph with all values named that can be, lines for those that can't by node)."""
    named = {id: with_names(node, ROWS[node.kind]) for id, node in graph.items() if node.kind in ROWS}
    nodes = {id: named[id][0] if id in named else node for id, node in graph.items()}
    return nodes, {id: lines for id, (_, lines) in named.items()}


def _awake(graph: Graph) -> tuple[list[str], list[Line]]:
    """(the nodes that run, in order; a line for each other one that is more than a note). Raises UserError
    without a sampler.
    """
    samplers = [id for id, node in graph.items() if not node.asleep and _samples(node)]
    if not samplers:
        found = ", ".join(sorted({node.kind for node in graph.values()})[:5])
        raise UserError(
            "this workflow makes no Wan video that is known here",
            value=found[:200] or "no nodes",
            allowed="one with a WanVideoSampler, or with ComfyUI's own sampler",
        )
    part = taking_part(graph, samplers)
    alive = [id for id, node in graph.items() if id in part and not node.asleep]
    others = [node for id, node in graph.items() if id not in part or node.asleep]
    return alive, [_unused(node) for node in others if node.kind not in ROWS or not ROWS[node.kind].says]


def _samples(node: Node) -> bool:
    return node.kind in ROWS and ROWS[node.kind].samples


def _unused(node: Node) -> Line:
    detail = node.asleep or "no link leads from it to the video"
    return Line(node=node.label, outcome=UNUSED, detail=detail)


def _read(node: Node, around: Surroundings) -> list[Found]:
    if node.kind not in ROWS:
        return [Line(node=node.label, outcome=UNKNOWN, detail="this node is not known")]
    return list(read_node(node, ROWS[node.kind], around))


def _task(graph: Graph, alive: Sequence[str]) -> str | None:
    """The first in the order of TASKS that a node is for: what speaks also starts from a picture."""
    found = {ROWS[graph[id].kind].task for id in alive if graph[id].kind in ROWS}
    return next((task for task in TASKS if task in found), None)
