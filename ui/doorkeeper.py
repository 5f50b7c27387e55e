"""Stands before every request to the server: slows down guessed logins, refuses what another site sends in a
visitor's name, keeps room on the disk, shows guests their own files only, and adds the security headers.
"""

import ipaddress
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import gettempdir

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ui.language import language_of, speaking
from ui.logins import Accounts, LoginLimit
from ui.texts import say

MAX_UPLOAD_BYTES = 2 << 30  # three hours of uncompressed stereo, the longest sound that is taken
KEPT_FREE_BYTES = 2 << 30  # on the disk of the uploads: a running job writes there too
READING = ("GET", "HEAD", "OPTIONS")
FILE_ROUTES = ("/gradio_api/file=", "/gradio_api/file/")

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"referrer-policy", b"same-origin"),
    (b"content-security-policy", b"frame-ancestors 'self'; object-src 'none'; base-uri 'self'"),
    (b"permissions-policy", b"camera=(), geolocation=(), payment=(), usb=()"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """What the doorkeeper knows: the logins, where uploads lie, whether a guest may read a file, and the
    language of the start flag.
    """

    accounts: Accounts
    uploads: Path
    guest_may_read: Callable[[Path], bool]
    language: str | None = None


class Doorkeeper:
    """ASGI middleware of gradio's app (`launch(app_kwargs={"middleware": ...})`)."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app, self._house = app, house
        self._limit = LoginLimit()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused; hand on the rest."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        is_login = request.method == "POST" and request.url.path.rstrip("/").endswith("/login")
        address = address_of(request)

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                if is_login and message["status"] in (200, 400):
                    self._limit.count(address, message["status"] == 200)
                present = {name.lower() for name, _ in message["headers"]}
                extra = [(name, value) for name, value in HEADERS if name not in present]
                message = {**message, "headers": [*message["headers"], *extra]}
            await send(message)

        with speaking(language_of(request, self._house.language)):
            refused = self._refuse_login(address) if is_login else self._refuse(request)
            await (refused or self._app)(scope, receive, answer)

    def _refuse_login(self, address: str) -> JSONResponse | None:
        wait = self._limit.seconds_to_wait(address)
        if not wait:
            return None
        seconds = str(int(wait) + 1)
        words = say("login_wait", seconds=seconds)
        return JSONResponse({"detail": words}, 429, headers={"Retry-After": seconds})

    def _refuse(self, request: Request) -> JSONResponse | None:
        path = request.scope["path"]
        if request.method not in READING and request.headers.get("sec-fetch-site") == "cross-site":
            return JSONResponse({"detail": say("refused_site")}, 403)
        if path.rstrip("/").endswith("/gradio_api/upload") and not self._has_room(request):
            return JSONResponse({"detail": say("refused_upload")}, 507)
        wanted = next((path.partition(route)[2] for route in FILE_ROUTES if route in path), None)
        if wanted is not None and not self._may_read(request, wanted):
            return JSONResponse({"detail": say("refused_file")}, 403)
        return None

    def _has_room(self, request: Request) -> bool:
        """An upload that does not tell its size counts as the largest."""
        told = request.headers.get("content-length", "")
        wanted = int(told) if told.isdecimal() else MAX_UPLOAD_BYTES
        uploads = self._house.uploads
        place = next(folder for folder in (uploads, *uploads.parents) if folder.exists())
        # gradio writes an upload to the system's folder of temporary files before it moves it
        return all(shutil.disk_usage(disk).free - wanted >= KEPT_FREE_BYTES for disk in (place, gettempdir()))

    def _may_read(self, request: Request, wanted: str) -> bool:
        """Whether gradio's own rules are to be asked; it fetches web addresses too, which no page needs."""
        if "\0" in wanted or "://" in wanted:
            return False
        is_guest = self._house.accounts.is_guest(visitor_of(request))
        return not is_guest or self._house.guest_may_read(Path(wanted).resolve())


def visitor_of(request: Request) -> str | None:
    """The login behind a request, by the cookies that gradio's login sets; None when there is none."""
    gradio = request.app
    names = (f"access-token-{gradio.cookie_id}", f"access-token-unsecure-{gradio.cookie_id}")
    tokens = [request.cookies.get(name) for name in names]
    return next((gradio.tokens[token] for token in tokens if token in gradio.tokens), None)


def address_of(request: Request) -> str:
    """Where a request comes from. A shared link reaches us from this machine itself: then the last address
    that was added on the way counts, and not the earlier ones, which a visitor can make up.
    """
    peer = request.client.host if request.client else ""
    forwarded = request.headers.get("x-forwarded-for", "").rpartition(",")[2].strip()
    return forwarded if forwarded and _is_this_machine(peer) else peer


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, as test clients give
        return False
