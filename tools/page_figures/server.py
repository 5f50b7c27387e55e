"""app.py as a process of its own."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wanvideo.downloads.added_folders import VARIABLE

ROOT = Path(__file__).parents[2]
START_SECONDS = 40.0
STOP_SECONDS = 20.0
STDERR = 2  # where the server says what it likes: our own words stand alone on stdout


@contextmanager
def running_page(home: Path, *flags: str) -> Iterator[int]:
    """The port of a page whose results lie in `home`/out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    given = ["--port", str(port), "--output-dir", str(home / "out"), *flags]
    environment = {**os.environ, VARIABLE: str(home / "config"), "OMP_NUM_THREADS": "1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    command = [sys.executable, "app.py", *given]
    server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=STDERR)
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/config")
        yield port
    finally:
        server.terminate()
        server.wait(STOP_SECONDS)


def wait_for_answer(url: str) -> int:
    """The status of the page once its server is up."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"{url} did not answer")
