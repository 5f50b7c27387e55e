"""Where a workflow is found in a file, and what is refused, in one sentence."""

import json
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.workflow.formats import Sketch, as_api, as_canvas, write
from tests.workflow.sample_workflows import text_to_video
from wanvideo.errors import UserError
from wanvideo.workflow.document import read_document
from wanvideo.workflow.graph import MOST_NODES
from wanvideo.workflow.importing import import_workflow

API, CANVAS = as_api(text_to_video()), as_canvas(text_to_video())


def video(path: Path, tags: dict[str, str]) -> Path:
    """A short video with these tags."""
    flags = {"movflags": "use_metadata_tags"} if path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=flags) as container:
        container.metadata.update(tags)
        stream = container.add_stream("mpeg4" if path.suffix == ".mp4" else "libvpx-vp9", rate=8)
        stream.width = stream.height = 32
        stream.pix_fmt = "yuv420p"
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize(
    "tags",
    [
        {"comment": json.dumps({"prompt": json.dumps(API), "workflow": CANVAS})},
        {"prompt": json.dumps(API), "workflow": json.dumps(CANVAS)},
        {"prompt": "a prompt in words", "workflow": json.dumps(API)},
    ],
)
def test_a_workflow_in_a_video(tmp_path: Path, suffix: str, tags: dict[str, str]) -> None:
    assert read_document(video(tmp_path / f"made{suffix}", tags)) == API


def test_a_workflow_in_a_picture(tmp_path: Path) -> None:
    texts = PngInfo()
    texts.add_text("workflow", json.dumps(CANVAS))
    Image.new("RGB", (32, 32)).save(tmp_path / "made.png", pnginfo=texts)
    assert read_document(tmp_path / "made.png") == CANVAS
    tags = Image.Exif()
    tags[0x0110] = f"prompt:{json.dumps(API)}"
    Image.new("RGB", (32, 32)).save(tmp_path / "made.webp", exif=tags)
    assert read_document(tmp_path / "made.webp") == API


def test_a_byte_order_mark_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "w.json").write_text(json.dumps(API), encoding="utf-8-sig")
    assert read_document(tmp_path / "w.json") == API


def many_nodes() -> dict[str, Any]:
    return {str(i): {"class_type": "KSampler", "inputs": {}} for i in range(MOST_NODES + 1)}


def many_subgraphs() -> dict[str, Any]:
    """Graphs in graphs that would unfold to billions of nodes."""
    graphs = [
        {"id": f"g{depth}", "nodes": [{"id": i, "type": f"g{depth + 1}"} for i in range(20)], "links": []}
        for depth in range(8)
    ]
    return {"nodes": [{"id": 1, "type": "g0"}], "links": [], "definitions": {"subgraphs": graphs}}


def subgraph_in_itself() -> dict[str, Any]:
    graph = {"id": "g", "nodes": [{"id": 1, "type": "g"}], "links": []}
    return {"nodes": [{"id": 1, "type": "g"}], "links": [], "definitions": {"subgraphs": [graph]}}


def many_wires() -> dict[str, Any]:
    graph = {"id": "g", "nodes": [], "links": [[i, 1, 0, 2, 0, ""] for i in range(3000)]}
    nodes = [{"id": i, "type": "g"} for i in range(20)]
    return {"nodes": nodes, "links": [], "definitions": {"subgraphs": [graph]}}


def circle() -> dict[str, Any]:
    return as_api(
        {"1": Sketch(kind="KSampler", links={"a": ("2", 0)}), "2": Sketch(kind="X", links={"b": ("1", 0)})}
    )


HOSTILE: list[tuple[str, str]] = [
    ("", "the file is empty"),
    ("{", "is not JSON"),
    ("[]", "no ComfyUI workflow"),
    ("[" * 100_000, "nested too deeply"),
    ('{"nodes": [' + '{"a": [' * 100 + "]}" * 100 + "]}", "nested too deeply"),
    ("9" * 5000, "is not JSON"),
    ('{"request": {"steps": 4}}', "no ComfyUI workflow"),
    (json.dumps(many_nodes()), "too many nodes"),
    (json.dumps(many_subgraphs()), "too many nodes"),
    (json.dumps(many_wires()), "too many links"),
    (json.dumps(subgraph_in_itself()), "nested too deeply"),
    (json.dumps(circle()), "run in a circle"),
    (json.dumps(as_api({"1": Sketch(kind="LoadImage")})), "no Wan video"),
    ('{"nodes": [1, null, {"id": null}], "links": [3, [1], {"id": {}}]}', "no Wan video"),
    ('{"1": {"class_type": "KSampler", "inputs": 5}, "2": 3}', "no ComfyUI workflow"),
]


@pytest.mark.parametrize(("text", "said"), HOSTILE, ids=[said for _, said in HOSTILE])
def test_what_is_no_workflow_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "bad.json").write_text(text)
    with pytest.raises(UserError) as refused:
        import_workflow(tmp_path / "bad.json", [])
    assert said in str(refused.value) and len(str(refused.value)) < 400 and "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["missing.json", "noise.png", "noise.mp4", "noise.json", "a.exe"])
def test_files_of_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    if name != "missing.json":
        (tmp_path / name).write_bytes(bytes(range(256)) * 8)
    with pytest.raises(UserError):
        read_document(tmp_path / name)


def test_odd_values_everywhere_break_nothing(tmp_path: Path, models: Path) -> None:
    odd: list[Any] = [
        None,
        True,
        -1,
        1e308,
        "",
        "x" * 50,
        [],
        [[1]],
        {"a": {}},
        ["1", 0],
        ["99", 0],
        "..\\..",
    ]
    for value in odd:
        document = as_api(text_to_video())
        for node in document.values():
            node["inputs"] = {
                name: value if not isinstance(old, list) else old for name, old in node["inputs"].items()
            }
        if not isinstance(value, list) or value != ["1", 0]:
            import_workflow(write(tmp_path / "odd.json", document), [models])
        shown = as_canvas(text_to_video())
        for node in shown["nodes"]:
            node["widgets_values"] = [value] * 8
        import_workflow(write(tmp_path / "odd.json", shown), [models])
