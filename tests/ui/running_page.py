"""app.py as a process of its own, and plain HTTP to its server."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlencode

from tools.page_figures.server import ROOT, running_page

__all__ = ["ROOT", "ask", "log_in", "running_page"]


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
