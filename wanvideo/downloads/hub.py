"""The model hub: addresses, what it records about a file, and data that survives dropped connections.

Address and token come from huggingface_hub. The transfer is our own: the library deletes the part of
a file when its download stops, so nothing could be taken up again, and what it raises changes with the HTTP
package below it.
"""

import logging
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import httpx
from huggingface_hub import get_token, hf_hub_url

from wanvideo.downloads.catalog import KnownFile
from wanvideo.errors import UserError

log = logging.getLogger(__name__)

ENDPOINT = "HF_ENDPOINT"
PUBLIC_HUB = "https://huggingface.co"
TRIES = 6  # in a row without a byte
FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0  # seconds; the hub counts requests over five minutes
TIMEOUT = httpx.Timeout(20.0)
_MOST_REDIRECTS = 5
_TEMPORARY = (408, 425, 429, 500, 502, 503, 504)
_NO_NETWORK = (
    "Check the network; a mirror can be named in HF_ENDPOINT. The same command goes on where it stopped."
)

Say = Callable[[str], None]  # a note; raises Cancelled to stop


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteFile:
    """What the hub records: the address, the size, and a hash (SHA-256, or git's SHA-1 of a small file).

    Hashes are None where the hub gives none.
    """

    known: KnownFile
    url: str
    bytes: int
    sha256: str | None = None
    git_sha1: str | None = None


class _Pause(Exception):
    """A failure that may pass. `seconds`: how long the hub asks to wait; `final`: what is told in the end."""

    def __init__(self, final: UserError, seconds: float | None = None) -> None:
        super().__init__(str(final))
        self.final, self.seconds = final, seconds


class Hub:
    """A connection to the hub, or to the mirror in HF_ENDPOINT. Used in a `with`."""

    def __init__(self, say: Say) -> None:
        self.endpoint = _endpoint()
        self._say = say
        headers = {"user-agent": "wanvideo", "accept-encoding": "identity"}  # offsets count the file's bytes
        if token := get_token():
            headers["authorization"] = f"Bearer {token}"  # httpx sends it to the hub's own host alone
        self._client = httpx.Client(headers=headers, timeout=TIMEOUT, follow_redirects=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def describe(self, file: KnownFile) -> RemoteFile:
        """What the hub records about a file. Raises UserError in one sentence."""
        url = hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=self.endpoint)
        patience = _Patience(self._say)
        while True:
            try:
                return self._describe(file, url)
            except _Pause as pause:
                patience.wait(pause)

    def data(self, remote: RemoteFile, start: int) -> Iterator[tuple[int, bytes]]:
        """(offset, bytes) from `start` to the end of the file, over as many connections as it takes.

        The offset falls back to 0 when a server can't go on in the middle. Raises UserError.
        """
        patience, offset = _Patience(self._say), start
        while offset < remote.bytes:
            try:
                for place, piece in self._pieces(remote, offset):
                    yield place, piece
                    offset = place + len(piece)
                    patience.renew()
                if offset < remote.bytes:  # an answer without a length may end early without an error
                    raise _Pause(self._no_connection("the connection ended early"))
            except _Pause as pause:
                patience.wait(pause)

    def _describe(self, file: KnownFile, url: str) -> RemoteFile:
        """A large file's answer is the address of its storage; size and hash stand beside it."""
        address = url
        for _ in range(_MOST_REDIRECTS):
            with self._failures():
                answer = self._client.head(address, follow_redirects=False)
            self._check(answer, file)
            if answer.next_request is None or "x-linked-etag" in answer.headers:
                return _recorded(file, url, answer)
            address = str(answer.next_request.url)
        raise UserError(f"the hub sends {file.file_name} round in circles", fix=_NO_NETWORK)

    def _pieces(self, remote: RemoteFile, start: int) -> Iterator[tuple[int, bytes]]:
        wanted = {"range": f"bytes={start}-"} if start else {}
        with self._failures(), self._client.stream("GET", remote.url, headers=wanted) as answer:
            self._check(answer, remote.known)
            offset = start if _goes_on(answer, start) else 0
            for piece in answer.iter_bytes():
                yield offset, piece
                offset += len(piece)

    @contextmanager
    def _failures(self) -> Iterator[None]:
        """A dropped connection as _Pause."""
        try:
            yield
        except httpx.TransportError as error:
            log.info("connection: %r", error)
            raise _Pause(self._no_connection(str(error) or type(error).__name__)) from error

    def _no_connection(self, reason: str) -> UserError:
        return UserError(f"no connection to {urlsplit(self.endpoint).netloc} ({reason})", fix=_NO_NETWORK)

    def _check(self, answer: httpx.Response, file: KnownFile) -> None:
        """Raises UserError or _Pause unless the hub gives what was asked for."""
        if answer.status_code < 400:
            return
        refusal = self._refusal(answer, file)
        if answer.status_code in _TEMPORARY:
            raise _Pause(refusal, _asked_seconds(answer))
        raise refusal

    def _refusal(self, answer: httpx.Response, file: KnownFile) -> UserError:
        status, code = answer.status_code, answer.headers.get("x-error-code", "")
        if status == 429:
            fix = "Try again later, or log in (`hf auth login`): it goes on where it stopped."
            return UserError("the hub limits the number of downloads from this address", fix=fix)
        if status == 404 or code == "RepoNotFound":
            unsure = "" if file.confirmed else " (its name here was never confirmed)"
            return UserError(f"the hub has no {file.path} in {file.repository}{unsure}")
        if status in (401, 403):
            return UserError(
                f"the hub gives {file.file_name} only to those who are logged in",
                fix=f"Accept the licence at {self.endpoint}/{file.repository}, then set HF_TOKEN to a token "
                "or run `hf auth login`.",
            )
        return UserError(f"the hub answers {status} for {file.file_name}", fix="Try again later.")


class _Patience:
    """Waits between tries, longer each time, and gives up after TRIES in a row that brought nothing."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._failed = 0

    def renew(self) -> None:
        """Something arrived."""
        self._failed = 0

    def wait(self, pause: _Pause) -> None:
        """Wait for the next try; raises what the pause ends with when there is none left."""
        self._failed += 1
        if self._failed >= TRIES:
            raise pause.final from pause
        asked = FIRST_WAIT * 2 ** (self._failed - 1) if pause.seconds is None else pause.seconds
        if asked > LONGEST_WAIT:
            raise pause.final from pause
        end = time.monotonic() + asked
        while (left := end - time.monotonic()) > 0:
            self._say(f"waiting {left:.0f} s: {pause.final.what}")
            time.sleep(min(0.2, left))


def _endpoint() -> str:
    """The hub's address without a slash at its end. Raises UserError if it is none."""
    chosen = (os.environ.get(ENDPOINT) or PUBLIC_HUB).rstrip("/")
    parts = urlsplit(chosen)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise UserError(f"{ENDPOINT} is no address", value=chosen, allowed="one like https://hf-mirror.com")
    return chosen


def _recorded(file: KnownFile, url: str, answer: httpx.Response) -> RemoteFile:
    size = answer.headers.get("x-linked-size") or answer.headers.get("content-length", "")
    if not size.isdigit():
        raise UserError(f"the hub does not tell the size of {file.file_name}", fix="Try again later.")
    etag = (answer.headers.get("x-linked-etag") or answer.headers.get("etag", "")).removeprefix("W/")
    found = re.fullmatch(r'"?([0-9a-f]{64}|[0-9a-f]{40})"?', etag)
    hashed = found[1] if found else ""
    if file.sha256 and len(hashed) == 64 and hashed != file.sha256:
        raise UserError(
            f"{file.file_name} on the hub is not the file that this project knows",
            fix=f"Compare {file.repository} on the hub; a newer version of this project may know it.",
        )
    return RemoteFile(
        known=file,
        url=url,
        bytes=int(size),
        sha256=file.sha256 or (hashed if len(hashed) == 64 else None),
        git_sha1=hashed if len(hashed) == 40 else None,
    )


def _goes_on(answer: httpx.Response, start: int) -> bool:
    """Whether an answer begins at `start`, not at 0. Raises UserError when it begins anywhere else."""
    if answer.status_code != httpx.codes.PARTIAL_CONTENT:
        return False
    if not answer.headers.get("content-range", "").startswith(f"bytes {start}-"):
        raise UserError("the hub sent another part of the file than was asked for", fix="Try again later.")
    return True


def _asked_seconds(answer: httpx.Response) -> float | None:
    """Retry-After in seconds; a date there is not read."""
    asked = answer.headers.get("retry-after", "")
    return float(asked) if asked.isdigit() else None
