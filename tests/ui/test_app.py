"""app.py from the outside: its flags, what it refuses in one line, and what its server gives away."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_app(*flags: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "app.py", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)


def test_help_and_the_refusal_of_an_open_door() -> None:
    assert run_app("--help").returncode == 0
    for flags in (["--listen"], ["--host", "0.0.0.0"], ["--auth", "nobody"]):
        refused = run_app(*flags)
        assert refused.returncode == 2 and "--auth" in refused.stderr and refused.stderr.count("\n") == 1


def test_an_output_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run_app("--output-dir", str(tmp_path / "file"))
    assert refused.returncode == 2 and refused.stderr.count("\n") == 1 and "output folder" in refused.stderr


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


def wait_for_answer(url: str) -> int:
    """The status of the page once its server is up."""
    end = time.monotonic() + 40
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer")
