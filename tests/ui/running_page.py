"""app.py as a process of its own, and plain HTTP to its server."""

import http.client
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlencode

from tests.ui.test_app import wait_for_answer
from wanvideo.downloads.added_folders import VARIABLE

ROOT = Path(__file__).parents[2]


@contextmanager
def running_page(home: Path, *flags: str) -> Iterator[int]:
    """The port of a page whose results lie in `home`/out."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    given = ["--port", str(port), "--output-dir", str(home / "out"), *flags]
    environment = {**os.environ, VARIABLE: str(home / "config"), "OMP_NUM_THREADS": "1"}
    environment.pop("GRADIO_TEMP_DIR", None)
    server = subprocess.Popen([sys.executable, "app.py", *given], cwd=ROOT, env=environment)
    try:
        wait_for_answer(f"http://127.0.0.1:{port}/config")
        yield port
    finally:
        server.terminate()
        server.wait(20)


def ask(
    port: int, path: str, *, post: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None
) -> http.client.HTTPResponse:
    """One answer of the server, its body read; `path` goes out as it is, dots and all."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    sent = {"Content-Type": "application/x-www-form-urlencoded"} if post is not None else {}
    body = urlencode(post) if post is not None else None
    connection.request("GET" if post is None else "POST", path, body, {**sent, **(headers or {})})
    answer = connection.getresponse()
    answer.read()
    return answer


def log_in(port: int, name: str, password: str) -> dict[str, str]:
    """The headers of a visitor who is logged in."""
    answer = ask(port, "/login", post={"username": name, "password": password})
    assert answer.status == 200
    cookies = [value for header, value in answer.getheaders() if header.lower() == "set-cookie"]
    return {"Cookie": "; ".join(cookie.partition(";")[0] for cookie in cookies)}
