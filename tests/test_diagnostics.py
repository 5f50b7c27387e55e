"""What is shown and sent of a machine: no folder, no picture. Caches, log, and a command that runs."""

import json
import os
import re
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from tests.ui.test_fields import CARD, CPU
from wanvideo.cache_folder import REQUANTIZED, VARIABLE, cache_folder
from wanvideo.diagnostics.caches import KINDS, clear_cache, disk_state, list_caches
from wanvideo.diagnostics.command import DONE, FAILED, IDLE, MOST_LINES, RUNNING, STOPPED, Command
from wanvideo.diagnostics.logs import LONGEST_LINE, log_tail
from wanvideo.diagnostics.places import known_places, without_places
from wanvideo.diagnostics.report import Installation, last_failed, report_parts, write_report
from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import LOG_NAME
from wanvideo.request import GenerationRequest, RuntimeOptions

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))


@pytest.fixture
def here(tmp_path: Path) -> Installation:
    output = tmp_path / "private" / "out"
    return Installation(
        store=JobStore(queue_file(output)),
        machine=replace(CPU, gpus=(CARD,)),
        output_dir=str(output),
        models_dir=str(tmp_path / "private" / "models"),
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("wrote /data/videos/of/anna/a.mp4 now", "wrote …/a.mp4 now"),
        (r"can't open 'D:\Users\Anna\models\b.safetensors'", "can't open '…/b.safetensors'"),
        ("see https://example.org/a/b/c for more", "see https://example.org/a/b/c for more"),
        ("12/40 steps, s/step and/or a ratio of 1/2/3", "12/40 steps, s/step and/or a ratio of 1/2/3"),
        ("wanvideo/jobs/worker.py", "wanvideo/jobs/worker.py"),
        ("(/mnt/x/y.png)", "(…/y.png)"),
        ("file=/mnt/x/y.png, /z/q/", "file=…/y.png, …/q"),
        ("/", "/"),
    ],
)
def test_paths_nobody_knows_keep_their_last_name(text: str, shown: str) -> None:
    assert without_places(text, {}) == shown


def test_known_folders_have_a_word(tmp_path: Path) -> None:
    places = known_places(tmp_path / "my videos", tmp_path / "m")
    text = f"{tmp_path}/my videos/jobs/a.sqlite {ROOT}/app.py {Path.home()}/x/y"
    assert without_places(text, places) == "<output>/jobs/a.sqlite <app>/app.py ~/x/y"
    windows = {r"C:\Users\Anna B": "~"}
    assert without_places(r"C:\Users\Anna B\x and C:\\Users\\Anna B\\y", windows) == r"~\x and ~\\y"


def test_the_log_is_told_from_its_end_without_folders(here: Installation) -> None:
    assert log_tail(here.output_dir, 5, here.places) == []
    log = queue_file(here.output_dir).with_name(LOG_NAME)
    lines = [f"line {number} {here.output_dir}/x.mp4 {'y' * number}" for number in range(2000)]
    log.write_bytes("\n".join(lines).encode() + b"\n\xff broken\n")
    told = log_tail(here.output_dir, 3, here.places)
    assert [line.split()[1] for line in told[:2]] == ["1998", "1999"] and "broken" in told[2]
    assert all("private" not in line and len(line) <= LONGEST_LINE for line in told)
    log.unlink()
    log.mkdir()
    with pytest.raises(UserError, match=LOG_NAME):
        log_tail(here.output_dir, 3, here.places)


def test_every_kind_that_is_kept_can_be_seen_and_cleared() -> None:
    asked = {REQUANTIZED}
    for file in (ROOT / "wanvideo").rglob("*.py"):
        source = file.read_text("utf-8")
        asked |= set(re.findall(r"\bcache_folder\(\"([a-z_]+)\"\)", source))
        for constant in set(re.findall(r"\bcache_folder\(([A-Z]+)\)", source)) - {"REQUANTIZED"}:
            asked |= set(re.findall(rf"^{constant}\b.*? = \"([a-z_]+)\"", source, re.M))
    assert asked == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_is_cleared_alone(kind: str) -> None:
    for one in KINDS:
        (cache_folder(one) / "deep").mkdir(parents=True)
        (cache_folder(one) / "deep" / "file").write_bytes(b"12345")
    was = clear_cache(kind)
    assert (was.files, was.bytes) == (1, 5)
    assert {usage.name: usage.bytes for usage in list_caches()} == {**dict.fromkeys(KINDS, 5), kind: 0}
    assert clear_cache(kind).files == 0


@pytest.mark.parametrize("kind", ["", ".", "..", "../out", "/etc", "nix"])
def test_nothing_else_is_cleared(kind: str, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(UserError, match="no such cache"):
        clear_cache(kind)
    assert (tmp_path / "out").exists()


def test_a_cache_that_is_a_link_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "valuable").mkdir()
    (tmp_path / "valuable" / "file").touch()
    cache_folder("").mkdir(parents=True)
    cache_folder(KINDS[0]).symlink_to(tmp_path / "valuable")
    with pytest.raises(UserError, match="left alone"):
        clear_cache(KINDS[0])
    assert (tmp_path / "valuable" / "file").exists()


def test_the_disk_is_told_by_what_takes_it(tmp_path: Path) -> None:
    sizes = {"a.mp4": 10, "uploads/x/p.png": 20, ".work/w/window.mp4": 30, "trash/b.mp4": 40}
    for name, size in sizes.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "trash" / "gone").symlink_to(tmp_path / "nowhere")
    state = disk_state(tmp_path)
    assert [part.bytes for part in state.parts][:3] == [10, 20, 30] and state.parts[3].files == 2
    assert 0 < state.free < state.total
    assert disk_state(tmp_path / "not" / "yet").free > 0


def _failed_job(here: Installation) -> None:
    uploads = f"{here.output_dir}/uploads/hash"
    request = GenerationRequest(
        prompt="a secret plan",
        image=f"{uploads}/anna.png",
        audio=(f"{uploads}/voice.wav", "/home/anna/b.wav"),
        model="/home/anna/models/m.safetensors",
        loras=(LoraChoice(file="/home/anna/l.safetensors"),),
    )
    options = RuntimeOptions(output_dir=here.output_dir, models_dir=here.models_dir, strict=True)
    here.store.add(request, options)
    job = here.store.claim("w")
    assert job is not None
    here.store.fail(job, f"{uploads}/anna.png cannot be used")


def test_the_report_names_no_folder_and_holds_no_picture(here: Installation) -> None:
    _failed_job(here)
    log = queue_file(here.output_dir).with_name(LOG_NAME)
    log.write_text(f"job 1: done, {here.output_dir}/a.mp4\nTraceback, File {ROOT}/wanvideo/plan.py\n")
    picture = Path(here.output_dir) / "uploads" / "hash" / "anna.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(b"PICTURE")
    path = write_report(here)
    assert path.parent.parent == Path(here.output_dir) and not list(path.parent.glob("*.part"))
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert set(parts) == {
        "versions.json",
        "machine.json",
        "trials.json",
        "disk.json",
        "last_failed_job.json",
        LOG_NAME,
    }
    whole = "\n".join(parts.values())
    for private in ("private", "/home", str(Path.home()) + os.sep, str(ROOT), "PICTURE"):
        assert private not in whole, private
    job = json.loads(parts["last_failed_job.json"])
    assert job["request"]["image"] == "anna.png" and job["request"]["audio"] == ["voice.wav", "b.wav"]
    assert job["request"]["loras"][0]["file"] == "l.safetensors" and job["options"] == {"strict": True}
    assert "A card" in parts["machine.json"] and "torch" in parts["versions.json"]
    assert "<output>/a.mp4" in parts[LOG_NAME] and "<app>/wanvideo/plan.py" in parts[LOG_NAME]


def test_a_report_without_a_failed_job(here: Installation) -> None:
    assert last_failed(here.store) is None
    assert json.loads(report_parts(here)["last_failed_job.json"]) == {}


def test_a_report_that_can_t_be_written_says_so(here: Installation) -> None:
    (Path(here.output_dir) / "diagnostics").write_text("a file in its place")
    with pytest.raises(UserError, match="can't be written"):
        write_report(here)


def _wait(command: Command, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while command.now.state == RUNNING and time.monotonic() < end:
        time.sleep(0.05)


def test_a_command_is_watched_line_by_line() -> None:
    command = Command()
    assert command.now.state == IDLE
    command.start("Hardware", ["hardware"])
    with pytest.raises(UserError, match="Hardware is running"):
        command.start("Other", ["hardware"])
    _wait(command)
    assert command.now.state == DONE and command.now.name == "Hardware"
    assert any("sdpa" in line for line in command.now.lines) and len(command.now.lines) <= MOST_LINES
    command.start("Wrong", ["hardware", "--nix"])
    _wait(command)
    assert command.now.state == FAILED and any("--nix" in line for line in command.now.lines)


def test_a_command_is_stopped_and_its_late_end_says_nothing_of_the_next() -> None:
    command = Command()
    command.stop()
    for _ in range(3):
        command.start("Self-test", ["selftest", "--again"])
        command.stop()
        assert command.now.state == STOPPED
        command.start("Again", ["hardware"])
        _wait(command)
        assert (command.now.name, command.now.state) == ("Again", DONE)
