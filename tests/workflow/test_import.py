"""Whole workflows become settings, the same from every format, and what is not taken is told."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.workflow.formats import FORMATS, Sketch, Workflow, as_api, as_canvas, write
from tests.workflow.sample_talk import TALK_VALUES, infinite_talk
from tests.workflow.sample_workflows import NATIVE_VALUES, TEXT_VALUES, native_image_to_video, text_to_video
from wanvideo.fields import LoraChoice
from wanvideo.presets import ALL_FIELDS, load_preset
from wanvideo.request import read_options, read_request, split_settings
from wanvideo.workflow.importing import ROWS, import_workflow
from wanvideo.workflow.report import LEFT, MISSING, OTHERWISE, TAKEN, UNKNOWN, UNUSED, Line, WorkflowImport
from wanvideo.workflow.rows import SPACING, SPEECH

LORAS = {"loras": (LoraChoice(file="sub/cold", strength=0.5), LoraChoice(file="warm", strength=0.8))}
CASES: dict[str, tuple[Callable[[], Workflow], dict[str, Any]]] = {
    "text": (text_to_video, TEXT_VALUES | LORAS),
    "native": (native_image_to_video, NATIVE_VALUES),
    "talk": (infinite_talk, TALK_VALUES),
}


@pytest.fixture
def run(tmp_path: Path, models: Path) -> Callable[..., WorkflowImport]:
    def run(document: Any, inputs: tuple[Path, ...] = ()) -> WorkflowImport:
        return import_workflow(write(tmp_path / "workflow.json", document), [models], inputs)

    return run


def line_of(found: WorkflowImport, widget: str) -> Line:
    (line,) = [line for line in found.lines if line.widget == widget]
    return line


@pytest.mark.parametrize("written", FORMATS)
@pytest.mark.parametrize("case", CASES)
def test_a_workflow_becomes_settings(run: Callable[..., WorkflowImport], case: str, written: str) -> None:
    make, values = CASES[case]
    found = run(FORMATS[written](make()))
    assert found.values == values
    assert [line for line in found.lines if line.outcome in (UNKNOWN, UNUSED)] == []
    assert all(line.detail for line in found.lines)
    asked, opted = split_settings(found.values)
    read_request(asked), read_options(opted)


def test_the_known_workflow_has_nothing_unknown_and_agrees_with_its_preset(
    run: Callable[..., WorkflowImport],
) -> None:
    found = run(as_canvas(infinite_talk()))
    named = load_preset("infinitetalk_workflow").named("talk")
    assert {name: found.values[name] for name in named} == named
    told = {(line.widget, line.outcome) for line in found.not_taken()}
    assert told == {("image", MISSING), ("audio", MISSING)}


def test_the_values_of_a_field_are_told_with_their_node(run: Callable[..., WorkflowImport]) -> None:
    found = run(as_api(text_to_video()))
    line = line_of(found, "steps")
    assert (line.node, line.value, line.outcome, line.detail) == (
        "WanVideoSampler 8",
        25,
        TAKEN,
        "num_inference_steps",
    )
    assert line_of(found, "tile_x").outcome == OTHERWISE
    (vae,) = [line for line in found.lines if line.value == "other_vae.safetensors"]
    assert vae.outcome == MISSING


def test_inputs_are_found_by_name_in_the_folders_for_them(
    run: Callable[..., WorkflowImport], tmp_path: Path
) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    for name in ("girl.png", "hello.wav"):
        (folder / name).touch()
    talk = run(as_canvas(infinite_talk()), (folder,))
    assert talk.values["image"] == str(folder / "girl.png")
    assert talk.values["audio"] == (str(folder / "hello.wav"),)
    assert "image" not in run(as_canvas(infinite_talk())).values
    assert run(as_api(native_image_to_video()), (folder,)).values["image"] == str(folder / "girl.png")


def test_a_second_speaker_is_the_second_sound(run: Callable[..., WorkflowImport], tmp_path: Path) -> None:
    for name in ("hello.wav", "answer.wav"):
        (tmp_path / name).touch()
    workflow = infinite_talk() | {"126": Sketch(kind="LoadAudio", widgets={"audio": "in/answer.wav"})}
    embeds = workflow["194"]
    workflow["194"] = replace(
        embeds,
        links={**embeds.links, "audio_2": ("126", 0)},
        widgets={**embeds.widgets, "multi_audio_type": "add"},
    )
    found = run(as_api(workflow), (tmp_path,))
    assert found.values["audio"] == (str(tmp_path / "hello.wav"), str(tmp_path / "answer.wav"))
    assert found.values["audio_order"] == "sequence"


CACHES = [
    ("WanVideoTeaCache", {"rel_l1_thresh": 0.3, "start_step": 1, "use_coefficients": True}, "teacache", 0.3),
    ("WanVideoMagCache", {"magcache_thresh": 0.02, "magcache_K": 4, "end_step": -1}, "magcache", 0.02),
]


@pytest.mark.parametrize(("kind", "widgets", "name", "threshold"), CACHES)
def test_a_step_cache_comes_with_its_threshold(
    run: Callable[..., WorkflowImport], kind: str, widgets: dict[str, Any], name: str, threshold: float
) -> None:
    workflow = text_to_video() | {"30": Sketch(kind=kind, widgets=widgets)}
    workflow["8"] = replace(workflow["8"], links={**workflow["8"].links, "cache_args": ("30", 0)})
    found = run(as_api(workflow))
    assert (found.values["step_cache"], found.values["step_cache_threshold"]) == (name, threshold)
    assert not [line for line in found.lines if line.outcome == LEFT and kind in line.node]


UNFIT: list[tuple[str, str, Any, str]] = [
    ("8", "scheduler", "sa_ode_stable", "unknown sampler"),
    ("8", "steps", 0, "out of range"),
    ("8", "steps", "many", "should be a whole number"),
    ("8", "seed", 2**64 - 1, "out of range"),
    ("8", "cfg", float("nan"), "out of range"),
    ("8", "cfg", {"a": 1}, "should be numbers"),
    ("8", "riflex_freq_index", 10**400, "out of range"),
    ("1", "attention_mode", "sageattn_compiled", "unknown attention"),
    ("1", "quantization", "int8", "unknown quantization"),
    ("1", "load_device", "moon", "not one of its choices"),
    ("2", "prefetch_blocks", 40, "out of range"),
    ("7", "num_frames", 80, "4n+1"),
    ("6", "positive_prompt", "x" * 20_001, "longer than"),
    ("4", "strength_0", [1, "a"], "loras must be"),
    ("11", "fps", 1e6, "out of range"),
]


@pytest.mark.parametrize(("node", "widget", "value", "said"), UNFIT)
def test_what_does_not_fit_its_field_is_listed_and_not_guessed(
    run: Callable[..., WorkflowImport], node: str, widget: str, value: Any, said: str
) -> None:
    workflow = text_to_video()
    before = run(as_api(workflow)).values
    workflow[node] = replace(workflow[node], widgets={**workflow[node].widgets, widget: value})
    found = run(as_api(workflow))
    (line,) = [line for line in found.lines if line.outcome == LEFT]
    assert said in line.detail and line.node.endswith(f" {node}")
    assert len(before) - len(found.values) == (widget != "strength_0")


def test_one_side_of_a_size_takes_the_other_with_it(run: Callable[..., WorkflowImport]) -> None:
    workflow = text_to_video()
    workflow["7"] = replace(workflow["7"], widgets={"width": 840, "height": 480, "num_frames": 81})
    found = run(as_api(workflow))
    assert not {"width", "height"} & found.values.keys()
    assert "832 or 848" in line_of(found, "width").detail and "go together" in line_of(found, "height").detail


def test_two_samplers_that_disagree_are_not_chosen_between(run: Callable[..., WorkflowImport]) -> None:
    workflow = text_to_video()
    second = replace(workflow["8"], widgets={**workflow["8"].widgets, "steps": 3})
    workflow["12"] = replace(second, links={**second.links, "samples": ("8", 0)})
    found = run(as_api(workflow))
    assert "num_inference_steps" not in found.values and found.values["guidance_scale"] == 5.5
    assert {line.outcome for line in found.lines if line.widget == "steps"} == {LEFT}


def test_speech_is_never_given_another_rate(run: Callable[..., WorkflowImport]) -> None:
    workflow = infinite_talk()
    workflow["131"] = replace(workflow["131"], widgets={"frame_rate": 30})
    found = run(as_api(workflow))
    assert "fps" not in found.values and line_of(found, "frame_rate").outcome == LEFT


def test_a_frame_rate_after_other_frames_were_made_is_not_the_video_s(
    run: Callable[..., WorkflowImport],
) -> None:
    workflow = text_to_video() | {"20": Sketch(kind="RIFE VFI", links={"frames": ("10", 0)})}
    workflow["11"] = replace(workflow["11"], links={"images": ("20", 0)})
    found = run(as_api(workflow))
    assert "fps" not in found.values
    assert [line.node for line in found.lines if line.outcome == UNKNOWN] == ["RIFE VFI 20"]


def test_nodes_that_do_not_run_set_nothing(run: Callable[..., WorkflowImport]) -> None:
    workflow = text_to_video() | {"30": Sketch(kind="WanVideoBlockSwap", widgets={"blocks_to_swap": 1})}
    workflow["31"] = Sketch(
        kind="WanVideoLoraSelect",
        widgets={"lora": "warm.safetensors", "strength": 1},
        links={"prev_lora": ("4", 0)},
    )
    workflow["2"] = replace(workflow["2"], mode=2)
    workflow["3"] = replace(workflow["3"], mode=4)
    found = run(as_canvas(workflow))
    assert "blocks_to_swap" not in found.values
    assert found.values["loras"] == (LoraChoice(file="sub/cold", strength=0.5),), "past the bypassed one"
    asleep = {line.node: line.detail for line in found.lines if line.outcome == UNUSED}
    assert asleep == {
        "WanVideoBlockSwap 30": "no link leads from it to the video",
        "WanVideoLoraSelect 31": "no link leads from it to the video",
        "WanVideoBlockSwap 2": "the node is muted",
        "WanVideoLoraSelect 3": "the node is bypassed",
    }


def test_what_only_a_muted_node_needs_does_not_run(run: Callable[..., WorkflowImport]) -> None:
    workflow = text_to_video()
    workflow["3"] = replace(workflow["3"], mode=2)
    found = run(as_canvas(workflow))
    assert "loras" not in found.values
    asleep = [line.node for line in found.lines if line.outcome == UNUSED]
    assert sorted(asleep) == ["WanVideoLoraSelect 3", "WanVideoLoraSelectMulti 4"]


def test_a_bypassed_node_leads_its_input_on(run: Callable[..., WorkflowImport], tmp_path: Path) -> None:
    (tmp_path / "girl.png").touch()
    workflow = infinite_talk()
    workflow["281"] = replace(workflow["281"], mode=4)
    found = run(as_canvas(workflow), (tmp_path,))
    assert found.values["image"] == str(tmp_path / "girl.png")
    assert found.values["width"] == 832, "what was linked to it has its own value again"


def test_unknown_nodes_and_values_are_told(run: Callable[..., WorkflowImport]) -> None:
    workflow = text_to_video() | {"40": Sketch(kind="MyNode", links={"images": ("10", 0)})}
    workflow["8"] = replace(workflow["8"], widgets={**workflow["8"].widgets, "brand_new": 5})
    for document in (as_api(workflow), as_canvas(workflow, names=True)):
        unknown = [line for line in run(document).lines if line.outcome == UNKNOWN]
        assert {(line.node, line.widget) for line in unknown} == {
            ("MyNode 40", ""),
            ("WanVideoSampler 8", "brand_new"),
        }


def test_an_order_that_is_not_the_table_s_is_not_trusted(run: Callable[..., WorkflowImport]) -> None:
    workflow = text_to_video()
    turned = dict(reversed(workflow["8"].widgets.items()))
    workflow["8"] = replace(workflow["8"], widgets=turned)
    found = run(as_canvas(workflow))
    assert not {"seed", "num_inference_steps", "sampler"} & found.values.keys()
    assert [line.node for line in found.lines if "another version" in line.detail] == ["WanVideoSampler 8"]
    assert run(as_canvas(workflow, names=True)).values["seed"] == 77, "with names the order is no matter"


def test_a_list_of_loras_in_one_node(run: Callable[..., WorkflowImport]) -> None:
    widgets = {
        "lora_1": {"on": True, "lora": "x\\WARM.safetensors", "strength": 0.7},
        "lora_2": {"on": False, "lora": "cold.safetensors", "strength": 1},
    }
    workflow = native_image_to_video()
    workflow["70"] = Sketch(kind="Power Lora Loader (rgthree)", widgets=widgets, links={"model": ("37", 0)})
    workflow["54"] = replace(workflow["54"], links={"model": ("70", 0)})
    for document in (as_api(workflow), as_canvas(workflow)):
        assert run(document).values["loras"] == (LoraChoice(file="warm", strength=0.7),)


def test_every_row_leads_to_real_fields() -> None:
    pseudo = {SPACING, *SPEECH}
    for kind, row in ROWS.items():
        names = [widget.name for widget in row.widgets]
        assert len(set(names)) == len(names), kind
        for widget in row.widgets:
            fields = {widget.field, *widget.roles.values()} - {""}
            assert fields <= {*ALL_FIELDS, *pseudo}, (kind, widget.name)
            strengths = {other.strength for other in row.widgets}
            assert fields or widget.says or widget.file or widget.name in strengths, (kind, widget.name)
        assert row.sets.keys() <= ALL_FIELDS.keys()
