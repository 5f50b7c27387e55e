"""A stand-in for the model hub on 127.0.0.1: HEAD, GET, ranges, and all that goes wrong."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote

from wanvideo.downloads.catalog import KnownFile

PIECE = 4096


@dataclass
class Served:
    """How one file is served. `statuses` are answered first, one each; `drops` are the byte counts after
    which a GET ends in the middle, one each. `wrong`: other bytes of the same number than HEAD promises.
    """

    content: bytes
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    drops: list[int] = field(default_factory=list)
    wrong: bool = False
    ranges: bool = True
    shifted_ranges: bool = False
    small: bool = False  # kept in git itself: the ETag is git's own hash, and there is no other storage
    endless: bool = False


@dataclass
class StandIn:
    """The server's address, what it serves by path, and what it was asked."""

    address: str = ""
    files: dict[str, Served] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # method, range
    tokens: list[tuple[str, str | None]] = field(default_factory=list)  # path, authorization

    def serve(self, file: KnownFile, served: Served) -> None:
        """Make `file` available."""
        self.files[f"/{file.repository}/resolve/{file.revision}/{file.path}"] = served

    @property
    def ranges(self) -> list[str]:
        """The ranges of the GETs, empty for a whole file."""
        return [wanted for method, wanted in self.asked if method == "GET"]


@contextmanager
def stand_in_hub() -> Iterator[StandIn]:
    """A running server."""
    state = StandIn()

    class Handler(_Handler):
        hub = state

    server = _Server(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        pass  # a visitor who goes away in the middle is what some tests are about


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(self.path).removeprefix("/storage")
        self.hub.asked.append((self.command, self.headers.get("range", "")))
        self.hub.tokens.append((self.path, self.headers.get("authorization")))
        served = self.hub.files.get(path)
        if served is None:
            self._empty(404, {"X-Error-Code": "EntryNotFound"})
        elif served.statuses:
            self._empty(served.statuses.pop(0), served.headers)
        elif not self.path.startswith("/storage") and not served.small:
            digest = hashlib.sha256(served.content).hexdigest()
            place = {"Location": f"{self.hub.address}/storage{self.path}"}
            linked = {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(served.content))}
            self._empty(302, {**place, **linked})
        else:
            self._data(served)

    def _empty(self, status: int, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": "0", **headers}.items():
            self.send_header(name, value)
        self.end_headers()

    def _data(self, served: Served) -> None:
        content = bytes(reversed(served.content)) if served.wrong else served.content
        wanted = self.headers.get("range", "")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and served.ranges else 0
        self.send_response(206 if start else 200)
        if start:
            shown = start + 1 if served.shifted_ranges else start
            self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
        blob = hashlib.sha1(b"blob %d\0" % len(served.content) + served.content).hexdigest()
        self.send_header("ETag", f'"{blob}"')
        if served.endless:
            self.send_header("Connection", "close")
        else:
            self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.command == "GET":
            self._send(served, content[start:])

    def _send(self, served: Served, content: bytes) -> None:
        end = served.drops.pop(0) if served.drops else len(content)
        for place in range(0, min(end, len(content)), PIECE):
            self.wfile.write(content[place : min(place + PIECE, end)])
        while served.endless:
            try:
                self.wfile.write(content)
            except OSError:
                break
        self.close_connection = end < len(content) or served.endless
