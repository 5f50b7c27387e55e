"""The System tab: what was tried here, disk and caches, the log, a command that runs, the report."""

import time
import zipfile
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
import pytest

from tests.ui.test_fields import CPU
from ui.page import build_page, place_parts
from ui.parts import Page
from ui.system import COMMANDS, cache_name, caches_card, command_card, log_card, probes_card
from ui.system_events import clear_one, look_at_command, make_report, show_system, start_command
from ui.texts import say
from wanvideo import cli
from wanvideo.cache_folder import VARIABLE, cache_folder
from wanvideo.diagnostics.caches import KINDS, Usage
from wanvideo.diagnostics.command import DONE, FAILED, IDLE, RUNNING, STOPPED, CommandState
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import LOG_NAME
from wanvideo.proof.kept import ATTENTION, QUANTIZATION, AttentionProof, MatmulProof, trial_of, write_proof
from wanvideo.proof.versions import versions_of
from wanvideo.registry import attention_backends, quantization_modes
from wanvideo.request import GenerationRequest, RuntimeOptions

SEEN: Mapping[str, Any] = {"state": IDLE, "sent": None}


@pytest.fixture
def page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Page:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    folders = {"output_dir": str(tmp_path / "out"), "models_dir": str(tmp_path / "models")}
    with gr.Blocks():
        return place_parts(JobStore(queue_file(tmp_path / "out")), folders, CPU)


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What toasts say."""
    said: list[str] = []
    for name in ("Info", "Warning"):
        monkeypatch.setattr(gr, name, lambda text, **_: said.append(text))
    yield said


def _start_job(page: Page) -> None:
    page.store.add(GenerationRequest(), RuntimeOptions())
    assert page.store.claim("w") is not None


def test_the_tab_is_on_the_page(tmp_path: Path) -> None:
    blocks = build_page(JobStore(tmp_path / "queue.sqlite"), {}, CPU)
    places = {widget.get("props", {}).get("elem_id") for widget in blocks.config["components"]}
    assert {"disk", "caches", "probes", "log", "selftest", "calibrate", "report"} <= places


def test_all_cards_are_filled_when_the_tab_is_opened(page: Page, tmp_path: Path) -> None:
    tab = page.system
    (tmp_path / "out" / "jobs" / LOG_NAME).write_text(f"job <1>: done, {tmp_path}/out/a.mp4")
    updates = show_system(page)
    assert set(updates) == {tab.machine, tab.disk, tab.caches, tab.probes, tab.log}
    assert "job &lt;1&gt;" in updates[tab.log] and str(tmp_path) not in "".join(updates.values())
    assert "2 cores" in updates[tab.machine] and say("system_disk_parts").split("|")[1] in updates[tab.disk]


def test_a_log_that_can_t_be_read_leaves_the_other_cards(page: Page, tmp_path: Path) -> None:
    (tmp_path / "out" / "jobs" / LOG_NAME).mkdir()
    updates = show_system(page)
    assert "error" in updates[page.system.log] and "error" not in updates[page.system.disk]


def test_every_option_has_its_row(page: Page) -> None:
    html = probes_card(page.machine)
    for table in (attention_backends(), quantization_modes()):
        for row in table.values():
            assert f"<td>{escape(row.name)}</td>" in html
    untried = html.count(say("system_untried")[1:]) + html.count(say("system_plain")[1:])
    tables = (*attention_backends().values(), *quantization_modes().values())
    assert untried == sum(row.unavailable_reason(CPU) is None for row in tables)


def test_a_trial_shows_its_figures(page: Page) -> None:
    versions = versions_of(page.machine)
    tried = AttentionProof(
        name="sdpa",
        usable=True,
        cosine=0.99987,
        milliseconds=2.0,
        peer_milliseconds=5.0,
        computed_by="one <kernel>",
        versions=versions,
    )
    write_proof(trial_of(ATTENTION, "sdpa", CPU), tried)
    mode = next(row.name for row in quantization_modes().values() if row.unavailable_reason(CPU) is None)
    failed = MatmulProof(name=mode, usable=False, reason="it gave NaN", error=0.5, versions=versions)
    write_proof(trial_of(QUANTIZATION, mode, CPU), failed)
    html = probes_card(page.machine)
    for part in ("2.5×", "0.9999", "computed by one &lt;kernel&gt;", "it gave NaN"):
        assert part in html, part
    assert "50.0 %" not in html, "a mode that fails has no figures worth showing"


def test_caches_have_a_name_and_a_button_when_they_hold_something() -> None:
    html = caches_card([Usage(name=kind, files=int(kind == KINDS[2]), bytes=5) for kind in KINDS])
    assert html.count("data-action='clear'") == 1 and f"data-name='{KINDS[2]}'" in html
    assert all(escape(cache_name(kind)) in html for kind in KINDS)


def test_a_cache_is_cleared_unless_a_video_is_being_made(page: Page, told: list[str]) -> None:
    kept = cache_folder(KINDS[0]) / "file"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(bytes(2_000_000))
    clear_one(page, "../out")
    assert "no such cache" in told[-1] and kept.exists()
    _start_job(page)
    clear_one(page, KINDS[0])
    assert told[-1] == say("system_busy") and kept.exists()
    job = page.store.list()[0]
    page.store.fail(job, "over")
    clear_one(page, KINDS[0])
    assert not kept.exists() and told[-1] == say("system_cleared", name=cache_name(KINDS[0]), size="2.0 MB")


def test_every_button_runs_a_command_that_exists() -> None:
    for arguments in COMMANDS.values():
        assert cli._parser().parse_args(list(arguments))


def test_a_command_waits_for_the_video(page: Page, told: list[str]) -> None:
    _start_job(page)
    start_command(page, "selftest")
    assert told == [say("system_busy")] and page.system.command.now.state == IDLE


def test_a_visitor_sees_the_lines_of_a_command_and_the_trials_when_it_ends(
    page: Page, monkeypatch: pytest.MonkeyPatch, told: list[str]
) -> None:
    monkeypatch.setattr("ui.system_events.COMMANDS", {"calibrate": ("hardware",)})
    state, tab = gr.State(), page.system
    assert set(look_at_command(page, state, SEEN)) == {state}
    start_command(page, "calibrate")
    start_command(page, "calibrate")
    assert "is running" in told[-1]
    seen = look_at_command(page, state, SEEN)
    assert (
        seen[tab.stop]["visible"]
        and say("system_check_running", name=say("system_calibrate")) in seen[tab.output]
    )
    end = time.monotonic() + 60
    while tab.command.now.state == RUNNING and time.monotonic() < end:
        time.sleep(0.05)
    done = look_at_command(page, state, seen[state])
    assert (
        say("system_check_done", name=say("system_calibrate")) in done[tab.output]
        and "sdpa" in done[tab.output]
    )
    assert tab.probes in done and not done[tab.stop]["visible"]
    assert set(look_at_command(page, state, done[state])) == {state}, "nothing new, nothing sent"


@pytest.mark.parametrize("state", [RUNNING, DONE, FAILED, STOPPED])
def test_each_end_of_a_command_is_told_without_folders(state: str) -> None:
    html = command_card(CommandState(name="N", state=state, lines=("<b>", "/secret/place/x.json")), {})
    assert say(f"system_check_{state}", name="N") in html and "&lt;b&gt;" in html and "secret" not in html


def test_an_empty_log_says_so() -> None:
    assert say("system_log_none") in log_card([]) and say("system_log_none") not in log_card(["x"])


def test_the_report_is_there_to_download(page: Page, tmp_path: Path) -> None:
    update = make_report(page)[page.system.download]
    assert update["visible"] and Path(update["value"]).is_relative_to(tmp_path / "out")
    assert zipfile.is_zipfile(update["value"])


def test_a_report_that_can_t_be_written_is_told(page: Page, tmp_path: Path, told: list[str]) -> None:
    (tmp_path / "out" / "diagnostics").write_text("in the way")
    make_report(page)
    assert "can't be written" in told[0]
