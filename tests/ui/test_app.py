"""app.py from the outside: its flags, what it refuses in one line, and what its server gives away."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import app
from tools.page_figures.server import wait_for_answer

ROOT = Path(__file__).parents[2]


def run_app(*flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "app.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def refused(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    """The one line that these flags are refused with."""
    with pytest.raises(SystemExit, match="2"):
        app.read_flags([*flags])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_help_and_the_refusal_of_an_open_door(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app("--help").returncode == 0
    stopped = run_app("--listen")
    assert stopped.returncode == 2 and "--auth" in stopped.stderr and stopped.stderr.count("\n") == 1
    for flags in (["--listen"], ["--host", "0.0.0.0"], ["--auth", "nobody"]):
        assert "--auth" in refused(capsys, *flags)


def test_a_guest_needs_an_owner_of_another_name(capsys: pytest.CaptureFixture[str]) -> None:
    for flags, said in (
        (["--guest", "a:b"], "--auth"),
        (["--guest", "a", "--auth", "b:c"], "USER:PASSWORD"),
        (["--guest", "b:d", "--auth", "b:c"], "another name"),
    ):
        assert said in refused(capsys, *flags)


def test_a_shared_page_gets_a_password_that_is_told_with_the_link(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (app.read_flags(["--share", "--guest", "a:b"]) for _ in range(2))
    passwords = [flags.accounts.owner.password for flags in (first, second)]
    assert len(set(passwords)) == 2 and min(map(len, passwords)) >= 16
    app.tell_login(first, "https://some.link")
    told = capsys.readouterr().out
    assert "https://some.link" in told and f"password {passwords[0]}" in told and told.count("\n") == 1
    app.tell_login(app.read_flags(["--share", "--auth", "me:secret"]), None)
    assert "secret" not in capsys.readouterr().out
    app.tell_login(app.read_flags(["--auth", "me:secret"]), None)
    assert not capsys.readouterr().out


def test_an_open_page_is_open_to_this_machine_only() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "localhost", "::1"):
        assert app.read_flags(["--host", host]).accounts.owner is None
    for host in ("192.168.1.2", "::", "example.com", ""):
        with pytest.raises(SystemExit, match="2"):
            app.read_flags(["--host", host])


def test_an_output_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    stopped = run_app("--output-dir", str(tmp_path / "file"))
    assert stopped.returncode == 2 and stopped.stderr.count("\n") == 1 and "output folder" in stopped.stderr


def test_the_server_answers_and_serves_no_files_of_its_own(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = ["--port", str(port), "--output-dir", str(tmp_path)]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    server = subprocess.Popen([sys.executable, "app.py", *flags], cwd=ROOT, env=environment)
    try:
        assert wait_for_answer(f"http://127.0.0.1:{port}/config") == 200
        secret = f"http://127.0.0.1:{port}/gradio_api/file={tmp_path / 'jobs' / 'queue.sqlite'}"
        assert wait_for_answer(secret) == 403
    finally:
        server.terminate()
        server.wait(20)
