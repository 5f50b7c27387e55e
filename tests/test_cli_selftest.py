"""`python -m wanvideo selftest`: both tables, the report, and what neither may tell."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof import fake_provider
from wanvideo import cli_selftest
from wanvideo.attention import providers
from wanvideo.cache_folder import VARIABLE
from wanvideo.cli import main
from wanvideo.cli_selftest import report_lines, run_selftest
from wanvideo.proof.kept import AttentionProof, MatmulProof
from wanvideo.proof.versions import PACKAGES
from wanvideo.registry import QuantizationMode, attention_backends, quantization_modes

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


def test_selftest_tells_versions_flags_and_every_row(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.txt"
    assert main(["selftest", "--json", "--report", str(report)]) == 0
    streams = capfd.readouterr()
    answer, text = json.loads(streams.out), report.read_text("utf-8")
    assert "testing sdpa ..." in streams.err and text.strip() in streams.err
    lines = [line.split() for line in text.splitlines()]
    names = {"torch", "driver", "cuBLAS", *PACKAGES, *attention_backends(), *quantization_modes()}
    assert {line[0] for line in lines if line} >= names
    assert "SAGEATTENTION_AVAILABLE = False (not installed: sageattention.sageattn)" in text
    assert "SAGEATTN3_AVAILABLE = True (sageattn3.sageattn3_blackwell)" in text
    assert ["sdpa", "yes", "1.0000", "1.0000"] in [line[:4] for line in lines]
    assert answer["SAGEATTN3_AVAILABLE"]["available"] is True
    rows = {row["name"]: row for row in answer["attention"]}
    assert list(rows) == list(attention_backends())
    assert all(row["usable"] or row["reason"] for row in rows.values())
    assert rows["sdpa"]["usable"] and rows["sdpa"]["ratio"] > 0
    modes = {row["name"]: row for row in answer["quantization"]}
    assert list(modes) == list(quantization_modes())
    for name, mode in quantization_modes().items():
        assert modes[name]["usable"] == (mode.fallback is None)
        if mode.fallback is None:
            assert modes[name]["error"] < 0.11 and modes[name]["computed_by"] in ("linear", "dequantized")
        else:
            assert "not supported on this GPU" in modes[name]["reason"]
    told = text + streams.out
    assert not [place for place in (Path.home(), Path.cwd(), tmp_path) if str(place) in told]


def attention_proof(name: str, *, usable: bool) -> AttentionProof:
    figures = {"cosine": 0.9987, "small_cosine": 0.9991, "milliseconds": 4.0, "peer_milliseconds": 10.0}
    if usable:
        return AttentionProof(
            name=name, usable=True, computed_by="kernels.fast", seconds=2.5, versions={}, **figures
        )
    return AttentionProof(name=name, usable=False, reason="it crashed (SIGSEGV)", seconds=1.0, versions={})


def matmul_proof(name: str, cores_reason: str = "") -> MatmulProof:
    figures = {"milliseconds": 2.0, "peer_milliseconds": 4.0, "dense_milliseconds": 5.0, "error": 0.0374}
    return MatmulProof(
        name=name,
        usable=True,
        computed_by="scaled",
        stored_percent=28.125,
        cores_reason=cores_reason,
        seconds=1.5,
        versions={},
        **figures,
    )


@pytest.fixture
def tried(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """Names and `again` of the trials; every row can be tried, and the first backend fails."""
    tried: list[tuple[str, bool]] = []
    tables = {"attention_backends": attention_backends(), "quantization_modes": quantization_modes()}
    first = next(iter(attention_backends()))
    for kind, table in tables.items():
        able = {name: replace(row, unavailable_reason=lambda _: None) for name, row in table.items()}
        monkeypatch.setattr(cli_selftest, kind, lambda able=able: able)

    def prove_attention(name: str, machine: object, *, again: bool) -> AttentionProof:
        assert machine is CPU
        tried.append((name, again))
        return attention_proof(name, usable=name != first)

    def prove_mode(row: QuantizationMode, machine: object, *, again: bool) -> MatmulProof:
        assert machine is CPU
        tried.append((row.name, again))
        return matmul_proof(row.name, "it lies" if row.cores else "")

    def try_together(names: list[str], _: object) -> dict[str, MatmulProof]:
        tried.extend((name, False) for name in names)
        return {name: matmul_proof(name) for name in names}

    for function in (prove_attention, prove_mode, try_together):
        monkeypatch.setattr(cli_selftest, function.__name__, function)
    monkeypatch.setattr(cli_selftest, "why_not_importable", lambda *_: "it crashed (SIGSEGV)")
    return tried


def test_every_trial_has_its_row_and_the_time_of_all_is_told(tried: list[tuple[str, bool]]) -> None:
    first, *others = attention_backends()
    modes = quantization_modes()
    plain = [name for name, row in modes.items() if row.fallback is None]
    fast = [name for name in modes if name not in plain]
    said: list[str] = []
    text = list(report_lines(run_selftest(CPU, said.append, again=True)))
    again = [(name, True) for name in (first, *others)]
    assert tried == [*again, *((name, False) for name in plain), *((name, True) for name in fast)]
    assert said == [f"testing {what} ..." for what in (first, *others, ", ".join(plain), *fast)]
    cells = {line.split()[0]: " ".join(line.split()) for line in text if line}
    assert cells[first] == f"{first} no - - - - - it crashed (SIGSEGV)"
    assert all(cells[name] == f"{name} yes 0.9987 0.9991 4.00 10.00 2.50 kernels.fast" for name in others)
    for name, row in modes.items():
        without = " (its own cores: it lies)" if row.cores else ""
        assert cells[name] == f"{name} yes 0.0374 2.00 5.00 2.50 28.1 scaled{without}"
    seconds = 1 + 2.5 * len(others) + 1.5 * len(modes)
    assert text[-1].startswith(f"{1 + len(others) + len(modes)} tested: {seconds:.1f} s of trials")
    assert "SAGEATTN3_AVAILABLE = False (sageattn3.sageattn3_blackwell: it crashed (SIGSEGV))" in text
