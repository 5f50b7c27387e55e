"""update and update --back, on repositories made for the test."""

import subprocess
from pathlib import Path

import pytest

from tools.update import DONE, REFUSED, USAGE, main


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


def commit(folder: Path, text: str) -> str:
    (folder / "app.py").write_text(text)
    git(folder, "add", "app.py")
    git(folder, "commit", "-qm", text)
    return git(folder, "rev-parse", "HEAD")


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    folder = tmp_path / "origin"
    folder.mkdir()
    git(folder, "init", "-q", "-b", "main")
    commit(folder, "first")
    return folder


@pytest.fixture
def copy(origin: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(origin), "copy")
    folder = tmp_path / "copy"
    (folder / "outputs").mkdir()
    (folder / "outputs" / "a.mp4").write_text("a video")
    return folder


def test_an_update_and_one_step_back(origin: Path, copy: Path) -> None:
    second = commit(origin, "second")
    assert main([], copy) == DONE
    assert git(copy, "rev-parse", "HEAD") == second and (copy / "app.py").read_text() == "second"
    assert main(["--back"], copy) == DONE
    assert (copy / "app.py").read_text() == "first"
    assert (copy / "outputs" / "a.mp4").read_text() == "a video"
    assert git(copy, "rev-parse", "--abbrev-ref", "HEAD") == "main", "still on its branch"
    assert main([], copy) == DONE and (copy / "app.py").read_text() == "second"


def test_the_newest_version_stays(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([], copy) == DONE
    assert "newest" in capsys.readouterr().err
    assert main(["--back"], copy) == REFUSED


def test_what_was_changed_here_is_not_lost(
    origin: Path, copy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commit(origin, "second")
    (copy / "app.py").write_text("mine")
    assert main([], copy) == REFUSED
    assert "app.py" in capsys.readouterr().err and (copy / "app.py").read_text() == "mine"
    own = commit(copy, "mine")
    assert main([], copy) == REFUSED
    assert "commits of its own" in capsys.readouterr().err and git(copy, "rev-parse", "HEAD") == own


def test_a_silent_repository_a_copy_without_git_and_a_wrong_word_are_told(
    origin: Path, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    origin.rename(tmp_path / "gone")
    assert main([], copy) == REFUSED and "does not answer" in capsys.readouterr().err
    assert main([], tmp_path / "gone" / ".git") == REFUSED and "models/" in capsys.readouterr().err
    assert main(["--bakc"], copy) == USAGE
