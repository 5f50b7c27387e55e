"""The decisions of the start script: torch build, stamp, dispatch. Installs nothing, asks no network."""

import os
import sys
from pathlib import Path

import pytest

from tools import bootstrap
from tools.bootstrap import COMMANDS, ROOT, SetupError, is_current, reachable_choice, spread_tests, target_of
from tools.torch_choice import (
    CPU_INDEX,
    CUDA_INDEX,
    OLDER_CUDA_INDEX,
    Machine,
    TorchChoice,
    choose_torch,
    explain_pip,
    is_installed,
    parse_cards,
)
from wanvideo import cli

BARE = {windows: Machine(windows) for windows in (False, True)}
CARD = {windows: Machine(windows, 580, 8.9) for windows in (False, True)}
OLD_DRIVER = {windows: Machine(windows, 570, 8.6) for windows in (False, True)}
OLD_CARD = {windows: Machine(windows, 581, 6.1) for windows in (False, True)}

CHOICES = [
    # machine, TORCH_INDEX_URL, index, part of the problem
    (BARE[False], None, CPU_INDEX, ""),
    (BARE[True], None, None, ""),
    (CARD[False], None, CUDA_INDEX, ""),
    (CARD[True], None, CUDA_INDEX, ""),
    (OLD_DRIVER[False], None, CUDA_INDEX, "driver 570 is too old for CUDA 13, which needs 580"),
    (OLD_DRIVER[True], None, CUDA_INDEX, "driver 570 is too old for CUDA 13, which needs 580"),
    (OLD_CARD[False], None, CUDA_INDEX, "compute capability 6.1"),
    (BARE[False], "", None, ""),
    (CARD[False], " ", None, ""),
    (OLD_DRIVER[True], "", None, ""),
    (OLD_DRIVER[False], OLDER_CUDA_INDEX, OLDER_CUDA_INDEX, ""),
    (OLD_CARD[True], OLDER_CUDA_INDEX, OLDER_CUDA_INDEX, ""),
    (OLD_DRIVER[True], CPU_INDEX, CPU_INDEX, ""),
    (BARE[False], CUDA_INDEX, CUDA_INDEX, "no NVIDIA driver"),
    (CARD[False], "https://mirror.example/simple", "https://mirror.example/simple", ""),
]


@pytest.mark.parametrize(("machine", "wish", "index", "problem"), CHOICES)
def test_torch_choice(machine: Machine, wish: str | None, index: str | None, problem: str) -> None:
    choice = choose_torch(machine, wish)
    assert choice.index == index
    assert problem in choice.problem
    assert bool(problem) == bool(choice.problem)
    assert choice.gigabytes == (8 if index in (CUDA_INDEX, OLDER_CUDA_INDEX) else 4)


def test_a_build_that_cannot_run_stops_the_default_and_only_warns_who_chose_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SetupError, match="Nothing was downloaded: NVIDIA driver 570"):
        reachable_choice(choose_torch(OLD_DRIVER[False], None), None)
    chosen = choose_torch(OLD_DRIVER[False], CUDA_INDEX)
    assert reachable_choice(chosen, CUDA_INDEX) is chosen
    assert "Warning: NVIDIA driver 570" in capsys.readouterr().err


def test_an_index_that_does_not_answer_is_left_aloud(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    silent = TorchChoice("http://127.0.0.1:9", 4)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(os, "name", "posix")
    assert reachable_choice(silent, None) == TorchChoice(None, 8)
    assert "does not answer" in capsys.readouterr().err


def test_cards_are_read_from_the_listing() -> None:
    assert parse_cards("580.65.06, 7.5\n580.65.06, 12.0\n", windows=False) == Machine(False, 580, 12.0)
    assert parse_cards("NVIDIA-SMI has failed because it couldn't communicate\n", windows=True) == Machine(
        True
    )


@pytest.mark.parametrize(
    ("version", "index", "expected"),
    [
        ("2.13.0+cpu", CPU_INDEX, True),
        ("2.13.0+cu130", CPU_INDEX, False),
        ("2.13.0+cpu", CUDA_INDEX + "/", False),
        ("2.13.0+cpu", None, True),
        ("2.13.0", None, True),
        ("2.12.1", None, False),
        ("", None, False),
        ("2.13.0", "https://mirror.example/simple", True),
    ],
)
def test_installed_build(version: str, index: str | None, expected: bool) -> None:
    assert is_installed(version, "2.13.0", index) is expected


def test_stamp_follows_files_python_card_and_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "ROOT", tmp_path)
    monkeypatch.setattr(bootstrap, "_venv_version", lambda: "3.12")
    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    (tmp_path / "requirements-dev.txt").write_text("pytest\n")
    stamp = bootstrap.wanted_stamp(dev=True, wish="")
    assert not is_current({}, stamp)
    for dev in (True, False):
        for wish in ("", None):
            assert is_current(stamp, bootstrap.wanted_stamp(dev, wish))
    assert not is_current(stamp, bootstrap.wanted_stamp(dev=True, wish=CPU_INDEX))
    without_dev = bootstrap.wanted_stamp(dev=False, wish=None)
    assert not is_current(without_dev, bootstrap.wanted_stamp(dev=True, wish=None))
    for key in without_dev:
        assert not is_current({**without_dev, key: "other"}, without_dev)
    (tmp_path / "requirements.txt").write_text("torch==2.14.0\n")
    assert not is_current(stamp, bootstrap.wanted_stamp(dev=True, wish=""))


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_broken_stamp_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp.json")
    assert bootstrap._read_stamp() == {}
    (tmp_path / "stamp.json").write_text(content)
    assert bootstrap._read_stamp() == {}


def test_a_failed_installation_leaves_no_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: str) -> None:
        raise SetupError("The disk is full.")

    (tmp_path / "requirements.txt").write_text("torch==2.13.0\n")
    for name, path in {"ROOT": tmp_path, "VENV": tmp_path, "STAMP": tmp_path / "stamp.json"}.items():
        monkeypatch.setattr(bootstrap, name, path)
    bootstrap.STAMP.write_text('{"requirements.txt": "before an update"}')
    monkeypatch.setenv("TORCH_INDEX_URL", "")
    for step, value in {"_make_venv": lambda: None, "_output": lambda *_: "", "_pip": fail}.items():
        monkeypatch.setattr(bootstrap, step, value)
    with pytest.raises(SetupError):
        bootstrap.prepare(dev=False)
    assert not bootstrap.STAMP.exists()


def test_environment_version_is_read_from_its_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    assert bootstrap._venv_version() == ""
    (tmp_path / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.12.4\n")
    assert bootstrap._venv_version() == ""  # the Python is gone
    python = Path(bootstrap.venv_python())
    python.parent.mkdir()
    python.touch()
    assert bootstrap._venv_version() == "3.12"


APP = str(ROOT / "app.py")
DISPATCH = [
    ([], [APP]),
    (["--share"], [APP, "--share"]),
    (["--port", "7861"], [APP, "--port", "7861"]),
    (["test"], ["-m", "pytest"]),
    (["test", "-k", "plan"], ["-m", "pytest", "-k", "plan"]),
    *[([word, "--json"], ["-m", "wanvideo", word, "--json"]) for word in COMMANDS],
]


@pytest.mark.parametrize(("arguments", "target"), DISPATCH)
def test_dispatch(arguments: list[str], target: list[str]) -> None:
    assert target_of(arguments) == target


SPREAD = ["-n", "2", "--dist", "loadfile"]
CHOICES_OF_TESTS = [
    ["-m", "gpu"],
    ["-m", "browser"],
    ["tests/test_plan.py"],
    ["-q", "tests/test_plan.py"],
    ["-k", "plan"],
    ["-n", "4"],
    ["-n4"],
    ["--pdb"],
]


@pytest.mark.parametrize("flags", [[], ["-q"], ["-x", "-v"], ["-qx", "--durations=9", "--junitxml=a.xml"]])
def test_the_whole_suite_is_spread_over_the_cores(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    target = target_of(["test", *flags])
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert spread_tests(target) == [*target, *SPREAD]
    for cores in (1, None):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        assert spread_tests(target) == target


@pytest.mark.parametrize("flags", CHOICES_OF_TESTS)
def test_a_choice_of_tests_runs_in_one_process(flags: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    target = target_of(["test", *flags])
    assert spread_tests(target) == target


@pytest.mark.parametrize("target", [target for _, target in DISPATCH if target[:2] != bootstrap.TESTS])
def test_nothing_else_is_spread(target: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert spread_tests(target) == target


@pytest.mark.skipif(os.name == "nt", reason="another way of starting")
@pytest.mark.parametrize(
    ("target", "threads"),
    [(["-m", "pytest"], "6"), (["-m", "pytest", *SPREAD], "1"), (["-m", "wanvideo", "plan", "-n", "2"], "6")],
)
def test_processes_that_share_the_cores_take_one_thread_each(
    target: list[str], threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(_python: str, _command: list[str], environment: dict[str, str]) -> None:
        sys.exit(environment["OMP_NUM_THREADS"])

    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    monkeypatch.setattr(os, "execvpe", begin)
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit, match=f"^{threads}$"):
        bootstrap.start("python", target)


def test_commands_are_those_of_the_command_line() -> None:
    assert set(COMMANDS) == set(cli.COMMANDS)


@pytest.mark.skipif(os.name == "nt", reason="the interpreter is a shell script here")
@pytest.mark.parametrize("place", bootstrap.PYTHON_PLACES)
def test_environments_of_venv_and_of_conda_are_found(tmp_path: Path, place: str) -> None:
    python = tmp_path / place
    python.parent.mkdir(exist_ok=True)
    python.write_text("#!/bin/sh\necho found\n")
    python.chmod(0o755)
    assert bootstrap.existing_python(str(tmp_path)) == str(python)


def test_both_ways_in_look_in_the_same_places() -> None:
    scripts = {suffix: (ROOT / f"start.{suffix}").read_text("ascii") for suffix in ("bat", "sh")}
    for place in bootstrap.PYTHON_PLACES:
        on_windows = place.endswith(".exe")
        wanted = "%~2\\" + place.replace("/", "\\") if on_windows else "$python/" + place
        assert wanted in scripts["bat" if on_windows else "sh"]


@pytest.mark.parametrize("arguments", [["generat"], ["--python"], ["--python", "/no/such/place"]])
def test_bad_arguments_exit_with_2_before_anything_is_made(
    arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bootstrap, "prepare", lambda **_: pytest.fail("nothing may be installed"))
    assert bootstrap.main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("log", "sentence"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("Retrying (Retry(total=4)) after connection broken by 'NewConnectionError", "could not be reached"),
        ("ERROR: No matching distribution found for torch==2.13.0", "Python 3.15"),
        ("ERROR: something new", "stands above"),
    ],
)
def test_pip_failures_are_explained(log: str, sentence: str) -> None:
    assert sentence in explain_pip(log, "3.15")
