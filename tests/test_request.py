"""Requests and options as JSON: every field survives the way out and back, under its name and its aliases."""

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice, Row
from wanvideo.request import (
    OPTION_FIELDS,
    REQUEST_FIELDS,
    GenerationRequest,
    ProgressEvent,
    RuntimeOptions,
    ignore_progress,
    read_options,
    read_request,
    split_settings,
    to_mapping,
)

READERS = [(REQUEST_FIELDS, read_request), (OPTION_FIELDS, read_options)]
CASES = [(row, reader) for table, reader in READERS for row in table.values()]


def samples(row: Row) -> list[Any]:
    """Values of a field, none of them its default, among them both ends of its range."""
    high = row.low + 7 if row.high is None and row.low is not None else row.high
    by_kind: dict[str, list[Any]] = {
        "text": ["Zwei Bären | two bears\n“quoted”"],
        "name": ["euler"],
        "path": ["a folder/ein Bär.png"],
        "paths": [("one.wav",), ("one.wav", "two, three.wav")],
        "bool": [not row.default],
        "choice": list(row.choices),
        "boxes": [((0.0, 0.0, 9.5, 9.0),), ((0.0, 0.0, 9.5, 9.0), (10.0, 0.0, 20.0, 9.0))],
        "loras": [
            (LoraChoice(file="C:\\Bär.safetensors"),),
            (LoraChoice(file="a", strength=-0.5), LoraChoice(file="b/c", strength=(1.0, 0.0))),
        ],
        "int": [row.low, high],
        "auto_int": [row.low, high],
        "float": [row.low, row.high],
        "floats": [row.low, (row.high, 2.5, row.low)],
    }
    return [value for value in by_kind[row.kind] if value is not None and value != row.default]


@pytest.mark.parametrize(("row", "reader"), CASES, ids=lambda case: getattr(case, "name", ""))
def test_field_survives_json_under_each_of_its_names(row: Row, reader: Any) -> None:
    for value in samples(row):
        settings = reader({row.name: value})
        assert getattr(settings, row.name) == value
        written = json.loads(json.dumps(to_mapping(settings)))
        assert list(written) == [row.name]
        assert reader(written) == settings
        for alias in row.aliases:
            assert reader({alias: written[row.name]}) == settings


@pytest.mark.parametrize("kind", [GenerationRequest, RuntimeOptions])
def test_defaults_are_not_written(kind: Any) -> None:
    assert to_mapping(kind()) == {}


def test_every_field_together_survives_json() -> None:
    for table, reader in READERS:
        settings = reader({row.name: samples(row)[0] for row in table.values()})
        written = json.loads(json.dumps(to_mapping(settings)))
        assert set(written) == set(table) == {item.name for item in fields(settings)}
        assert reader(written) == settings


def test_settings_are_immutable() -> None:
    with pytest.raises(AttributeError):
        GenerationRequest().prompt = "x"  # type: ignore[misc]


def test_flat_settings_are_split_by_owner() -> None:
    asked, options = split_settings({"steps": 4, "attention": "sdpa", "unknown": 1})
    assert options == {"attention": "sdpa"}
    assert asked == {"steps": 4, "unknown": 1}
    with pytest.raises(UserError, match="unknown setting, got 'unknown'"):
        read_request(asked)


def test_nobody_watching_stops_nothing() -> None:
    ignore_progress(ProgressEvent(stage="denoise"))


def test_request_needs_the_standard_library_alone() -> None:
    code = (
        "import sys, wanvideo.request; print(*{'numpy', 'torch', 'PIL', 'av', 'gradio'} & set(sys.modules))"
    )
    root = Path(__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr
