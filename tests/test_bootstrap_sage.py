"""SageAttention and the start script: installed where there is none and it can run; nothing is replaced."""

import sys
from pathlib import Path

import pytest

from tests.test_bootstrap import BARE, CARD
from tools import bootstrap
from tools.bootstrap import SetupError
from tools.torch_choice import Machine, sage_packages
from wanvideo.hardware import torch_cuda

AMPERE = {windows: Machine(windows, 580, 8.0) for windows in (False, True)}
SAGE_CHOICES = [
    # machine, what is there, what is installed
    (CARD[False], "triton cuda", ["sageattention==1.0.6"]),
    (AMPERE[False], "triton cuda", ["sageattention==1.0.6"]),
    (CARD[True], "cuda", ["sageattention==1.0.6", "triton-windows<3.8"]),
    (CARD[True], "triton cuda", ["sageattention==1.0.6"]),
    (CARD[False], "sageattention triton cuda", []),
    (CARD[True], "sageattention cuda", []),
    (CARD[False], "triton", []),
    (CARD[False], "", []),
    (Machine(False, 580, 7.5), "triton cuda", []),
    (BARE[False], "triton cuda", []),
    (BARE[True], "cuda", []),
]


@pytest.mark.parametrize(("machine", "present", "packages"), SAGE_CHOICES)
def test_sage_is_installed_only_where_it_can_run_and_there_is_none(
    machine: Machine, present: str, packages: list[str]
) -> None:
    assert sage_packages(machine, present.split()) == packages


@pytest.fixture
def pip_calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[str, ...]]:
    """What pip is asked for; it can't reach the index. The environment has torch with CUDA alone."""
    calls: list[tuple[str, ...]] = []

    def fail(*arguments: str) -> str:
        calls.append(arguments)
        return "The disk is full."

    monkeypatch.setattr(bootstrap, "VENV", tmp_path)
    monkeypatch.setattr(bootstrap, "_run_pip", fail)
    monkeypatch.setattr(bootstrap, "_output", lambda *_: "triton cuda")
    return calls


def test_sage_that_cannot_be_installed_is_said_and_stops_nothing(
    pip_calls: list[tuple[str, ...]], capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap._install_sage(CARD[False])
    assert pip_calls == [("--no-deps", "sageattention==1.0.6")]
    said = capsys.readouterr().err
    assert "everything runs without it. The disk is full." in said and "start again" not in said
    bootstrap._install_sage(BARE[False])
    assert len(pip_calls) == 1
    with pytest.raises(SetupError, match="The disk is full.*start again"):
        bootstrap._pip("torch")


def test_the_environment_is_asked_what_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the real question, in this Python; then with a sageattention beside it that can't be imported."""
    asked: list[list[str]] = []
    monkeypatch.setattr(bootstrap, "venv_python", lambda: sys.executable)
    monkeypatch.setattr(bootstrap, "sage_packages", lambda _, present: asked.append(present) or [])
    bootstrap._install_sage(CARD[False])
    (tmp_path / "sageattention").mkdir()
    (tmp_path / "sageattention" / "__init__.py").write_text("raise ImportError('built for another torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    bootstrap._install_sage(CARD[False])
    without, with_one = asked
    assert set(with_one) == {*without, "sageattention"}
    assert ("cuda" in without) == bool(torch_cuda())


def test_a_whole_installation_adds_sage_last(
    pip_calls: list[tuple[str, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    order: list[str] = []
    monkeypatch.setenv("TORCH_INDEX_URL", "")
    monkeypatch.setattr(bootstrap, "STAMP", tmp_path / "stamp.json")
    monkeypatch.setattr(bootstrap, "probe_machine", lambda: CARD[False])
    monkeypatch.setattr(bootstrap, "_make_venv", lambda: order.append("venv"))
    monkeypatch.setattr(bootstrap, "_install_torch", lambda _: order.append("torch"))
    monkeypatch.setattr(bootstrap, "_pip", lambda *_: order.append("packages"))
    bootstrap.prepare(dev=False)
    assert order == ["venv", "torch", "packages"] and pip_calls[-1][-1] == "sageattention==1.0.6"
    assert bootstrap.STAMP.exists()
