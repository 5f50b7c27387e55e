"""Whole jobs and repeated ones at tiny sizes: claimed cards, processes that fail, what grows."""

import io
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import one_job, twenty, whole_jobs
from benchmarks.measuring import GIB
from benchmarks.one_job import Job, as_json, plan_of, run_job
from benchmarks.page import table
from benchmarks.random_files import write_files
from benchmarks.report import REASON
from benchmarks.whole_jobs import CASES, KINDS, MODE, Case
from tests.benchmarks.test_benchmarks import NO_CARD, machine, report_in
from wanvideo.presets import load_preset
from wanvideo.request import TALK

TALK_CASE = next(case for case in CASES if case.what == "oom")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@pytest.fixture(autouse=True)
def own_cache(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANVIDEO_CACHE", str(files / "cache"))


def talk_job(files: Path, case: Case = TALK_CASE, **more: Any) -> Job:
    paths = write_files(KINDS[case.kind].files, files, MODE, quick=True)
    changes = whole_jobs._changes(case, paths["i2v_14b"], quick=True)
    return Job(task=TALK, preset=case.preset, output=str(files / "talk.mp4"), changes=changes, **more)


def test_presets_exist_and_are_for_their_tasks() -> None:
    for case in CASES:
        assert load_preset(case.preset).is_for(KINDS[case.kind].task)
    assert load_preset(twenty.PRESET).is_for(TALK)
    named = load_preset(twenty.PRESET).named(TALK)
    assert (named["quantization"], named["blocks_to_swap"], named["num_cuda_streams"]) == (
        "fp4_scaled",
        40,
        16,
    )


@NO_CARD
def test_a_case_is_made_in_a_process_of_its_own(tmp_path: Path, files: Path) -> None:
    report = report_in(tmp_path, "jobs", files=files)
    whole_jobs.run(report, machine(), quick=True, only=["oom"])
    (row,) = report.rows
    assert (row["job"], row["what"], row["gib"]) == ("talk 14B", "oom", 12)
    assert row["finite"] and row["size"] == "64x64x9" and row["steps"] == whole_jobs.STEPS
    assert {"text", "speech", "denoise", "decode"} <= row["stages"].keys()
    assert row["host_own_gib"] > 0.1
    assert "| talk 14B | oom | 12 |" in table("jobs", report.rows)


@NO_CARD
def test_a_job_that_fails_is_a_row_with_its_reason(
    files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = talk_job(files)
    wrong = replace(job, changes={**job.changes, "model": "no such model"})
    monkeypatch.setattr(sys, "stdin", io.StringIO(as_json(wrong)))
    one_job.main()
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert "unknown model" in answer[REASON]


def test_a_process_without_an_answer_is_told(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "false")
    with pytest.raises(RuntimeError, match="code 1"):
        whole_jobs._in_a_process(talk_job(files))


@NO_CARD
def test_the_cap_is_lowered_once_after_the_first_window(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    caps: list[float] = []
    monkeypatch.setattr(one_job, "_cap", caps.append)
    row = run_job(talk_job(files, cap_gib=10.0, left=0.6))
    assert row["finite"] and caps == [10.0, 6.0]


def test_the_claimed_card_is_the_one_that_is_planned_for(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(one_job, "probe_hardware", lambda: machine((9, 0)))
    card = one_job._machine(12.0).gpus[0]
    assert (card.total_bytes, card.free_bytes, card.compute_capability) == (12 * GIB, 12 * GIB, (9, 0))
    assert one_job._machine(0).gpus[0].total_bytes == 1
    seen: list[Any] = []

    def prepare(*_: Any, machine: Any, **__: Any) -> list[None]:
        seen.append(machine)
        return [None]

    monkeypatch.setattr(one_job, "prepare", prepare)
    plan_of(talk_job(files, cap_gib=12.0))
    assert seen[0].gpus[0] == card


def test_only_what_no_later_case_needs_is_removed(tmp_path: Path) -> None:
    small, large, *images = CASES[:4]
    paths = {}
    for case in (small, large, images[0]):
        name = KINDS[case.kind].files[0]
        paths[name] = whole_jobs.PUBLISHED_FILES[name].path(tmp_path, MODE)
        paths[name].touch()
    whole_jobs._clear(tmp_path, small, [large, *images])
    assert [path.exists() for path in paths.values()] == [False, True, True]
    whole_jobs._clear(tmp_path, images[0], images[1:])
    assert [path.exists() for path in paths.values()] == [False, True, True]


@NO_CARD
def test_generations_are_repeated_and_their_growth_is_told(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twenty, "SETTLING", 1)
    monkeypatch.setattr(twenty, "TINY_GENERATIONS", 2)
    report = report_in(tmp_path, "twenty", files=files)
    twenty.run(report, machine(), quick=True, only=[])
    *made, grown = report.rows
    assert [row["what"] for row in made] == [*[twenty.WHAT[0]] * 2, twenty.WHAT[1]]
    assert all(row["finite"] and row["host_own_gib"] > 0.1 for row in made)
    assert grown["finite"] and grown["host_own_gib_grown"] == 0 and grown["card_gib_grown"] is None


def test_growth_leaves_the_first_out_and_needs_all() -> None:
    rows = [
        {"what": "generation", "host_own_gib": size, "card_gib": 1.0, "finite": True, "seconds": 2.0}
        for size in (1.0, 5.0, 6.0, 6.5, 6.6, 6.75)
    ]
    assert twenty.growth(rows)["host_own_gib_grown"] == pytest.approx(0.25)
    assert not twenty.growth([*rows, {**rows[0], "finite": False}])["finite"]
    with pytest.raises(ValueError, match="not every"):
        twenty.growth([*rows, {"what": "generation", REASON: "out of memory"}])
