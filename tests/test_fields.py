"""The field table: what each kind accepts, how a mistake is told, and that every row is well formed."""

from typing import Any

import pytest

from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice, Row, read_value, read_values
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS, TASKS

ROWS = {**REQUEST_FIELDS, **OPTION_FIELDS}
KINDS = {"text", "int", "auto_int", "float", "floats", "bool", "choice", "name", "path", "paths", "boxes"}
KINDS |= {"loras"}

ACCEPTED: list[tuple[str, Any, Any]] = [
    ("steps", "12", 12),
    ("blocks_to_swap", " Auto", "auto"),
    ("blocks_to_swap", "off", 0),
    ("blocks_to_swap", "60", 60),
    ("steps", 12.0, 12),
    ("seed", "-1", -1),
    ("shift", "7", 7.0),
    ("guidance_scale", "5", 5.0),
    ("guidance_scale", "6, 4,1", (6.0, 4.0, 1.0)),
    ("cfg", [6, 1.5], (6.0, 1.5)),
    ("apg", "on", True),
    ("use_apg", "No", False),
    ("strict", True, True),
    ("audio", "a.wav", ("a.wav",)),
    ("audio", ["a.wav", "b, c.wav"], ("a.wav", "b, c.wav")),
    ("speaker_boxes", "0,0,8,9; 10,0,18.5,9", ((0, 0, 8, 9), (10, 0, 18.5, 9))),
    ("speaker_boxes", [[0, 0, 8, 9]], ((0, 0, 8, 9),)),
    ("loras", "a.safetensors", (LoraChoice(file="a.safetensors"),)),
    ("loras", "C:\\loras\\a.safetensors", (LoraChoice(file="C:\\loras\\a.safetensors"),)),
    ("loras", "C:\\loras\\a.safetensors:-0.5", (LoraChoice(file="C:\\loras\\a.safetensors", strength=-0.5),)),
    ("lora", ["a:1,0.5", "b"], (LoraChoice(file="a", strength=(1.0, 0.5)), LoraChoice(file="b"))),
    ("loras", [{"file": "a", "strength": [1, 0]}], (LoraChoice(file="a", strength=(1.0, 0.0)),)),
    ("loras", [{"file": "a", "strength": "0.3"}], (LoraChoice(file="a", strength=0.3),)),
    ("loras", {"file": "a"}, (LoraChoice(file="a"),)),
    ("task", "talk", "talk"),
    ("scheduler", "euler", "euler"),
    ("base_precision", "bf16_fast", "bf16"),
    ("width", None, None),
    ("audio", None, ()),
]

REFUSED: list[tuple[str, Any, str]] = [
    ("steps", "four", "num_inference_steps must be a whole number"),
    ("steps", 2.5, "num_inference_steps must be a whole number"),
    ("steps", True, "num_inference_steps must be a whole number"),
    ("steps", 0, "num_inference_steps is out of range, got 0; allowed: 1 to 1000"),
    ("steps", float("inf"), "num_inference_steps must be a whole number"),
    ("seed", -2, "seed is out of range"),
    ("width", 8, "width is out of range, got 8; allowed: 16 to 4096"),
    ("flow_shift", "nan", "flow_shift is out of range"),
    ("flow_shift", 10**400, "flow_shift must be a number"),
    ("seconds", float("inf"), "seconds is out of range"),
    ("guidance_scale", [], "guidance_scale must be a number, or a list with one number per step"),
    ("guidance_scale", [5, -1], "guidance_scale is out of range, got -1"),
    ("guidance_scale", "", "guidance_scale must be a number"),
    ("apg", "maybe", "apg must be true or false"),
    ("prompt", 5, "prompt must be text"),
    ("image", ["a.png"], "image must be a file path"),
    ("audio", 7, "audio must be a list of file paths"),
    ("audio", [7], "audio must be a list of file paths"),
    ("speaker_boxes", [[8, 0, 0, 9]], "speaker_boxes must be a list of boxes"),
    ("speaker_boxes", "1,2,3", "speaker_boxes must be a list of boxes"),
    ("speaker_boxes", [5], "speaker_boxes must be a list of boxes"),
    ("loras", [{"file": "a", "strenght": 1}], "loras must be a list of LoRAs, each FILE"),
    ("loras", [{"strength": 1}], "loras must be a list of LoRAs"),
    ("loras", [{"file": "a", "strength": "strong"}], "loras must be a list of LoRAs"),
    ("loras", [""], "loras must be a list of LoRAs"),
    ("loras", [5], "loras must be a list of LoRAs"),
    ("loras", "a:11", "loras is out of range, got 11"),
    ("loras", "a:1,nan", "loras is out of range"),
    ("task", "tolk", "task is not one of its choices, got 'tolk'; allowed: talk, image_to_video"),
    ("base_precision", "int8", "base_precision is not one of its choices"),
]


@pytest.mark.parametrize(("name", "given", "expected"), ACCEPTED)
def test_value_is_read_as_the_type_of_its_field(name: str, given: Any, expected: Any) -> None:
    (value,) = read_values(ROWS, {name: given}).values()
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(("name", "given", "text"), REFUSED)
def test_bad_value_is_refused_by_name(name: str, given: Any, text: str) -> None:
    with pytest.raises(UserError) as caught:
        read_values(ROWS, {name: given})
    assert str(caught.value).startswith(text)


@pytest.mark.parametrize(
    ("wrong", "near"), [("stps", "steps"), ("guidence_scale", "guidance_scale"), ("atention", "attention")]
)
def test_unknown_name_suggests_near_ones(wrong: str, near: str) -> None:
    with pytest.raises(UserError, match=f"unknown setting, got '{wrong}'; allowed: .*{near}"):
        read_values(ROWS, {wrong: 1})


def test_a_name_like_no_other_lists_them_all() -> None:
    with pytest.raises(UserError, match=r"attention.*window_frames"):
        read_values(ROWS, {"qqqqqq": 1})


def test_two_spellings_of_one_field_are_refused() -> None:
    with pytest.raises(UserError, match="num_inference_steps is given twice"):
        read_values(ROWS, {"steps": 4, "num_inference_steps": 4})


@pytest.mark.parametrize("row", ROWS.values(), ids=lambda row: row.name)
def test_row_is_well_formed(row: Row) -> None:
    assert row.kind in KINDS
    assert row.label and row.help
    for old, value in row.value_aliases:
        assert old not in row.choices
        assert read_value(row, old) == value
    assert bool(row.choices) == (row.kind == "choice")
    assert set(row.tasks) <= set(TASKS)
    assert row.flag is None or row.flag == row.flag.lower()
    if row.default is not None:
        assert read_value(row, row.default) == row.default
    if row.kind in ("int", "auto_int", "float", "floats"):
        assert row.low is not None  # the error text of a number names its range


def test_no_name_flag_or_alias_is_taken_twice() -> None:
    assert not REQUEST_FIELDS.keys() & OPTION_FIELDS.keys()
    names = [name for row in ROWS.values() for name in (row.name, *row.aliases)]
    flags = [row.flag for row in ROWS.values() if row.flag]
    assert len(set(names)) == len(names)
    assert len(set(flags)) == len(flags)
