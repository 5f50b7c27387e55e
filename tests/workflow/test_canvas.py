"""What ComfyUI's page sees through: reroutes, Get and Set, subgraphs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.formats import Sketch, as_canvas, write
from tests.workflow.sample_workflows import TEXT_VALUES, text_to_video
from wanvideo.workflow.canvas_format import read_canvas
from wanvideo.workflow.importing import import_workflow


@pytest.fixture
def values(tmp_path: Path, models: Path) -> Callable[[Any], Any]:
    return lambda document: import_workflow(write(tmp_path / "w.json", document), [models]).values


def test_reroutes_and_get_and_set_are_seen_through(values: Callable[[Any], Any]) -> None:
    workflow = text_to_video()
    workflow["50"] = Sketch(kind="Reroute", links={"": ("6", 0)})
    workflow["51"] = Sketch(kind="SetNode", widgets={"Constant": "text"}, links={"ANY": ("50", 0)})
    workflow["52"] = Sketch(kind="GetNode", widgets={"Constant": "text"})
    workflow["8"].links["text_embeds"] = ("52", 0)  # type: ignore[index]
    assert values(as_canvas(workflow))["prompt"] == "a red ball"


def test_a_circle_of_reroutes_leads_nowhere() -> None:
    workflow = {
        "1": Sketch(kind="Reroute", links={"": ("2", 0)}),
        "2": Sketch(kind="Reroute", links={"": ("1", 0)}),
        "3": Sketch(kind="KSampler", links={"model": ("1", 0)}),
    }
    assert read_canvas(as_canvas(workflow))["3"].links == {}


def folded() -> dict[str, Any]:
    """The text to video workflow with prompts and sampler in a subgraph, whose steps stand outside."""
    whole = as_canvas(text_to_video(), names=True)
    inside = [node for node in whole["nodes"] if node["id"] in (5, 6, 8)]
    sampler = next(node for node in inside if node["id"] == 8)
    names = [entry["name"] for entry in sampler["inputs"]]
    wires = [(link[0], *link[1:5]) for link in whole["links"] if {link[1], link[3]} <= {5, 6, 8}]
    wires += [
        (901, -10, 0, 8, names.index("model")),
        (902, -10, 1, 8, names.index("image_embeds")),
        (903, -10, 2, 8, names.index("steps")),
        (904, 8, 0, -20, 0),
    ]
    keys = ("id", "origin_id", "origin_slot", "target_id", "target_slot")
    subgraph = {"id": "a-b", "nodes": inside, "links": [dict(zip(keys, wire, strict=True)) for wire in wires]}
    outer = {
        "id": 99,
        "type": "a-b",
        "inputs": [
            {"name": "model", "type": "ANY", "link": 1},
            {"name": "images", "type": "ANY", "link": 2},
            {"name": "steps", "type": "INT", "link": None, "widget": {"name": "steps"}},
        ],
        "outputs": [{"name": "out", "type": "ANY"}],
        "widgets_values": [11],
    }
    kept = [link for link in whole["links"] if not {link[1], link[3]} & {5, 6, 8}]
    kept += [[801, 1, 0, 99, 0, "ANY"], [802, 7, 0, 99, 1, "ANY"], [803, 99, 0, 10, 1, "ANY"]]
    nodes = [node for node in whole["nodes"] if node["id"] not in (5, 6, 8)]
    return {"nodes": [*nodes, outer], "links": kept, "definitions": {"subgraphs": [subgraph]}}


def test_subgraphs_are_unfolded(values: Callable[[Any], Any]) -> None:
    found = values(folded())
    assert {name: found[name] for name in TEXT_VALUES} == TEXT_VALUES | {"num_inference_steps": 11}
