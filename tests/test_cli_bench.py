"""`python -m wanvideo bench`: words go to the package beside the program, rows come back."""

import json
from pathlib import Path

import pytest

from benchmarks import __main__ as package
from wanvideo import cli_bench
from wanvideo.cli import main

Streams = pytest.CaptureFixture[str]


def test_the_parts_of_the_help_are_those_of_the_package() -> None:
    assert {*cli_bench.PARTS} == {*package.PARTS, "all", "page"} and cli_bench.FIRST in package.PARTS


@pytest.mark.parametrize("flags", [["--json", "peaks"], ["peaks", "--json"]])
def test_rows_are_the_json_and_the_table_is_elsewhere(
    flags: list[str], tmp_path: Path, capsys: Streams
) -> None:
    where = ["--out", str(tmp_path), "--files", str(tmp_path / "files")]
    assert main(["bench", *flags, "--quick", "--only", "disabled", *where]) == 0
    printed = capsys.readouterr()
    rows = json.loads(printed.out)["rows"]["peaks"]
    assert {row["mode"] for row in rows} == {"disabled"} and rows[0]["forecast_gib"] > 0
    assert "| disabled |" in printed.err


def test_a_wrong_word_is_one_line(capsys: Streams) -> None:
    assert main(["bench", "nonsense"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_without_the_package_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    monkeypatch.setattr(cli_bench, "PACKAGE", "no_such_benchmarks")
    assert main(["bench"]) == 2
    assert "not beside the program" in capsys.readouterr().err


def test_without_words_the_targets_are_measured(monkeypatch: pytest.MonkeyPatch, capsys: Streams) -> None:
    given: list[list[str]] = []
    monkeypatch.setattr(package, "main", lambda words, _: given.append(words) or {})
    assert main(["bench", "--json"]) == 0
    assert given == [[cli_bench.FIRST]] and json.loads(capsys.readouterr().out) == {"rows": {}}
