"""`python -m wanvideo selftest`: the table, the report, and what neither may tell."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.attention_proof import fake_provider
from wanvideo import cli_selftest
from wanvideo.attention import providers
from wanvideo.attention_proof.proof import Proof
from wanvideo.attention_proof.versions import PACKAGES
from wanvideo.cache_folder import VARIABLE
from wanvideo.cli import main
from wanvideo.cli_selftest import report_lines, run_selftest
from wanvideo.registry import attention_backends

CPU = fake_provider.CPU


@pytest.fixture(autouse=True)
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """SageAttention 3 is installed, or so it seems; nothing was tried yet."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    fake_provider.install(tmp_path / "site", monkeypatch)
    for known in (providers.is_installed, providers.offers):
        known.cache_clear()
    yield tmp_path / "site"
    for known in (providers.is_installed, providers.offers):
        known.cache_clear()


def test_selftest_tells_versions_flags_and_every_backend(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.txt"
    assert main(["selftest", "--json", "--report", str(report)]) == 0
    streams = capfd.readouterr()
    answer, text = json.loads(streams.out), report.read_text("utf-8")
    assert "testing sdpa ..." in streams.err and text.strip() in streams.err
    lines = [line.split() for line in text.splitlines()]
    assert {line[0] for line in lines if line} >= {"torch", "driver", *PACKAGES, *attention_backends()}
    assert "SAGEATTENTION_AVAILABLE = False (not installed: sageattention.sageattn)" in text
    assert "SAGEATTN3_AVAILABLE = True (sageattn3.sageattn3_blackwell)" in text
    assert ["sdpa", "yes", "1.0000", "1.0000"] in [line[:4] for line in lines]
    assert answer["SAGEATTN3_AVAILABLE"]["available"] is True
    rows = {row["name"]: row for row in answer["attention"]}
    assert list(rows) == list(attention_backends())
    assert all(row["usable"] or row["reason"] for row in rows.values())
    assert rows["sdpa"]["usable"] and rows["sdpa"]["ratio"] > 0
    told = text + streams.out
    assert not [place for place in (Path.home(), Path.cwd(), tmp_path) if str(place) in told]


def fake_proof(name: str, *, usable: bool) -> Proof:
    figures = {"cosine": 0.9987, "small_cosine": 0.9991, "milliseconds": 4.0, "sdpa_milliseconds": 10.0}
    if usable:
        return Proof(backend=name, usable=True, provider="kernels.fast", seconds=2.5, versions={}, **figures)
    return Proof(backend=name, usable=False, reason="it crashed (SIGSEGV)", seconds=1.0, versions={})


def test_every_trial_has_its_row_and_the_time_of_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {
        name: replace(row, unavailable_reason=lambda _: None) for name, row in attention_backends().items()
    }
    first, *others = rows
    tried = []

    def prove(name: str, machine: object, *, again: bool) -> Proof:
        assert machine is CPU
        tried.append((name, again))
        return fake_proof(name, usable=name != first)

    monkeypatch.setattr(cli_selftest, "attention_backends", lambda: rows)
    monkeypatch.setattr(cli_selftest, "prove", prove)
    monkeypatch.setattr(cli_selftest, "why_not_importable", lambda *_: "it crashed (SIGSEGV)")
    said: list[str] = []
    text = list(report_lines(run_selftest(CPU, said.append, again=True)))
    assert tried == [(name, True) for name in rows]
    assert said == [f"testing {name} ..." for name in rows]
    cells = {line.split()[0]: " ".join(line.split()) for line in text if line}
    assert cells[first] == f"{first} no - - - - - it crashed (SIGSEGV)"
    assert all(cells[name] == f"{name} yes 0.9987 0.9991 4.00 10.00 2.50 kernels.fast" for name in others)
    assert text[-1].startswith(f"{len(rows)} tested: {1 + 2.5 * len(others):.1f} s of trials")
    assert "SAGEATTN3_AVAILABLE = False (sageattn3.sageattn3_blackwell: it crashed (SIGSEGV))" in text
