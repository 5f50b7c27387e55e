"""The benchmarks at tiny sizes on the CPU: every row is there, in the file, and on the page."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import attention, linears, modes, targets, twenty, whole_jobs
from benchmarks.candidates import EXACT, SPARSE, Candidate, candidates
from benchmarks.measuring import errors, exact_attention
from benchmarks.page import PAGE, TABLES, table, write_page
from benchmarks.random_model import TINY, build
from benchmarks.report import REASON, CardLost, Head, Report, read_report
from tests.attention.fake_packages import exact, states
from wanvideo.hardware import Gpu, Hardware
from wanvideo.quantization.which import is_quantized_linear
from wanvideo.registry import attention_backends, quantization_modes

NO_CARD = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a card")
MODES = quantization_modes()


def machine(*capabilities: tuple[int, int]) -> Hardware:
    cards = tuple(
        Gpu(name="Card", compute_capability=c, total_bytes=1, free_bytes=1, driver="580")
        for c in capabilities
    )
    return Hardware(gpus=cards, cpu="", cores=2, ram_bytes=1, free_ram_bytes=1, system="")


def report_in(folder: Path, name: str = "rows", hardware: Hardware | None = None, **more: Any) -> Report:
    head = Head(command="python -m benchmarks", machine=hardware or machine(), quick=True)
    return Report(folder / f"{name}.json", head, **more)


@NO_CARD
def test_all_parts_run_and_stand_on_the_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the whole jobs, the twenty and the targets the fewest; they have tests of their own."""
    monkeypatch.setenv("WANVIDEO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(whole_jobs, "CASES", whole_jobs.CASES[:1])
    monkeypatch.setattr(targets, "TARGETS", targets.TARGETS[:2])
    monkeypatch.setattr(twenty, "SETTLING", 0)
    monkeypatch.setattr(twenty, "TINY_GENERATIONS", 1)
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    where = ["--out", str(tmp_path), "--page", str(page), "--files", str(tmp_path / "files")]
    command.main(["all", "--quick", "--docs", *where])
    printed, text = capsys.readouterr().out, page.read_text("utf-8")
    for part in TABLES:
        report = read_report(tmp_path / f"{part}.json")
        assert report["quick"] and torch.__version__.startswith(report["versions"]["torch"])
        shown = table(part, report["rows"])
        assert shown in text and shown in printed
        assert report["command"] == "python -m benchmarks all --quick"
    named = {row["backend"] for row in read_report(tmp_path / "attention.json")["rows"]}
    assert named == set(attention_backends())
    named = {row["mode"] for row in read_report(tmp_path / "modes.json")["rows"]}
    assert set(MODES) <= named
    for part in TABLES:
        assert text.count(f"<!-- {part}: begin -->") == text.count(f"<!-- {part}: end -->") == 1
    assert text.count("tiny sizes") == len(TABLES)


def test_page_keeps_what_no_file_tells_and_can_be_written_again(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text("utf-8"), "utf-8")
    before = page.read_text("utf-8")
    write_page(page, tmp_path)
    assert page.read_text("utf-8") == before
    report_in(tmp_path, "modes").add({"mode": "one"}, lambda: {REASON: "none"})
    for _ in range(2):
        write_page(page, tmp_path)
        assert page.read_text("utf-8").count("- one: none") == 1
    shutil.copy(tmp_path / "modes.json", tmp_path / "modes_2.json")  # another run of the same part
    write_page(page, tmp_path)
    assert page.read_text("utf-8").count("- one: none") == 2
    assert (
        before.partition("<!-- modes: begin -->")[0] == page.read_text("utf-8").partition("<!-- modes: b")[0]
    )


@NO_CARD
@torch.no_grad()
def test_all_modes_with_the_fast_paths_of_a_card(tmp_path: Path) -> None:
    """The CPU can multiply in fp8 too, so a card is only claimed."""
    report = report_in(tmp_path)
    modes.run(report, machine((9, 0)), quick=True, only=[])
    rows = {row["mode"]: row for row in report.rows}
    reference = next(row for row in rows.values() if row.get("dense"))
    assert reference["relative_l2"] == 0 and reference["multiplies"] == {"Linear": 20}
    for name, mode in MODES.items():
        row = rows[name]
        assert REASON not in row
        if mode.store is not None:
            assert 0.005 < row["relative_l2"] < 0.3, name
            assert row["linears_gib"] / reference["linears_gib"] == pytest.approx(
                mode.bytes_per_weight / 2, abs=0.03
            )
        (path,) = row["multiplies"]
        assert (path == "dequantized") == (mode.fallback is None and mode.store is not None)
    assert all(REASON in rows[name] for name in rows.keys() - MODES)  # FP4 cores, which sm 9.0 has not


def test_modes_get_the_same_weights_and_all_of_them() -> None:
    dense = next(mode for mode in MODES.values() if mode.store is None)
    models = [build(TINY, dense) for _ in range(2)]
    for model, weights in models:
        assert not weights.left and not any(tensor.is_meta for tensor in model.state_dict().values())
    first, second = (model.state_dict() for model, _ in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
    big = [tensor for name, tensor in first.items() if is_quantized_linear(name.removesuffix(".weight"))]
    for weight in big:
        channels = weight.float().std(dim=0) / weight.float().std(dim=0).median()
        assert int((channels > 5).sum()) == 6 and float(channels.max()) < 25


@NO_CARD
@torch.no_grad()
def test_steps_of_a_linear(tmp_path: Path) -> None:
    report = report_in(tmp_path)
    linears.run(report, machine((9, 0)), quick=True, only=[])
    steps = {
        name: [row["step"] for row in report.rows if row["mode"] == name and row["step"] != linears.WHOLE]
        for name in MODES
    }
    fp8 = ["activations to fp8", "product", "scales and bias behind", "product, scales inside"]
    for name, mode in MODES.items():
        if mode.store is None:
            assert steps[name] == []
        elif mode.fallback is None:
            assert steps[name] == ["weight to bf16"]
        else:
            assert steps[name] == (["weight to fp8"] if mode.bytes_per_weight < 1 else []) + fp8
    for row in report.rows:
        if row["step"] == linears.WHOLE and REASON not in row and not row["dense"]:
            assert 0.01 < row["relative_l2"] < 0.3
        if "differs_from_ours" in row:
            assert row["differs_from_ours"] < 5e-3


@NO_CARD
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_every_candidate_is_a_row_though_most_fail_here(tmp_path: Path) -> None:
    """Without the card that is claimed kernels raise: each row has the reason, and the rest goes on."""
    report = report_in(tmp_path)
    attention.run(report, machine((9, 0)), quick=True, only=[])
    found = list(candidates(machine((9, 0))))
    assert len(report.rows) == len(found) * len(attention.KINDS)
    kinds = {row["backend"] for row in report.rows if REASON not in row}
    assert {"sdpa"} <= kinds
    for row in report.rows:
        if REASON not in row and row["kind"] == EXACT:
            assert row["passed"] and row["relative_l2"] < 5e-3


def test_sparse_attention_is_compared_under_its_mask(tmp_path: Path) -> None:
    row = attention_backends()[next(iter(SPARSE))]
    given = Candidate(backend=row.name, kind=EXACT, reason=None, load=lambda place: _masked(given, place))
    report = report_in(tmp_path)
    attention._run_case(report, attention.Case(attention.TINY[0], "random"), [given])
    (found,) = report.rows
    assert found["passed"] and 0.1 < found["share"] < 0.9


def _masked(candidate: Candidate, place: Any) -> Any:
    return lambda *qkv: exact_attention(*qkv, candidate.seen(place)).bfloat16()


def test_what_is_wrong_does_not_pass(tmp_path: Path) -> None:
    def mean(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
        return value.mean(1, keepdim=True).expand_as(query)

    def writes(query: Any, key: Any, value: Any) -> Any:
        result = exact_attention(query, key, value)
        key -= 1
        return result

    def infinite(query: Any, key: Any, value: Any) -> Any:  # noqa: ARG001
        return query / 0

    report, shape = report_in(tmp_path), attention.TINY[0]
    for wrong in (mean, writes, infinite):
        given = Candidate(
            backend="sdpa", provider=wrong.__name__, kind=EXACT, reason=None, load=lambda _, f=wrong: f
        )
        attention._run_case(report, attention.Case(shape, "realistic"), [given])
    rows = {row["provider"]: row for row in report.rows}
    assert not rows["mean"]["passed"] and rows["mean"]["inputs_unchanged"]
    assert not rows["writes"]["passed"] and rows["writes"]["relative_l2"] < 1e-6
    assert "not finite" in rows["infinite"][REASON]
    assert "no: changes its inputs" in table("attention", report.rows)


def test_reference_is_attention() -> None:
    given = states(300, 64)
    assert errors(exact_attention(*given), exact(*given))["relative_l2"] < 1e-6
    seen = torch.rand(300, 300, generator=torch.Generator().manual_seed(0)) < 0.5
    masked = exact_attention(*given, seen)
    assert errors(masked, exact(*given))["relative_l2"] > 0.1
    shortened = [tensor[:, seen[7]] for tensor in given[1:]]
    torch.testing.assert_close(masked[:, 7:8], exact(given[0][:, 7:8], *shortened))


def test_errors_are_those_of_the_definition() -> None:
    value, wanted = torch.randn(2, 1, 5000, 3, dtype=torch.float64).unbind()
    found = errors(value, wanted)
    assert found["relative_l2"] == pytest.approx(float((value - wanted).norm() / wanted.norm()))
    assert found["cosine"] == pytest.approx(
        float(torch.nn.functional.cosine_similarity(value.flatten(), wanted.flatten(), dim=0))
    )
    assert found["max_abs"] == pytest.approx(float((value - wanted).abs().max()))
    with pytest.raises(ValueError, match="shape"):
        errors(value[:, 1:], wanted)


def test_rows_are_in_the_file_at_once_and_a_failure_is_one(tmp_path: Path) -> None:
    report = report_in(tmp_path)

    def fail() -> Any:
        raise RuntimeError("no kernel\nimage")

    report.add({"mode": "a"}, fail)
    report.add({"mode": "b"}, lambda: {"ms": 1.0})
    rows = json.loads((tmp_path / "rows.json").read_text("utf-8"))["rows"]
    assert rows == [{"mode": "a", REASON: "RuntimeError: no kernel image"}, {"mode": "b", "ms": 1.0}]
    again = report_in(tmp_path, resume=True)
    assert again.has({"mode": "a"}) and again.failed({"mode": "a"}) and not again.failed({"mode": "b"})
    again.add({"mode": "a"}, lambda: {"ms": 2.0})
    assert [row["mode"] for row in again.rows] == ["a", "b"] and not again.failed({"mode": "a"})
    assert not report_in(tmp_path).rows


def test_a_lost_card_ends_the_process_and_another_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose() -> Any:
        raise RuntimeError("illegal memory access")

    monkeypatch.setattr("benchmarks.report.wait", lose)
    report = report_in(tmp_path)
    with pytest.raises(CardLost, match="illegal memory access"):
        report.add({"mode": "a"}, lose)
    assert report_in(tmp_path, resume=True).failed({"mode": "a"})

    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: started.append(words))
    monkeypatch.setitem(command.PARTS, "modes", lambda *_, **__: lose_card())
    command.main(["modes", "--quick", "--out", str(tmp_path)])
    assert [words[1:] for words in started] == [
        ["-m", "benchmarks", "modes", "--quick", "--out", str(tmp_path), "--resume"]
    ]


def lose_card() -> None:
    raise CardLost("illegal memory access")
