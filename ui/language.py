"""Which language a visitor reads: the chosen one, which a cookie keeps; else that of the start flag; else the
one that the browser asks for.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.requests import Request

ENGLISH = "en"
LANGUAGES: Mapping[str, str] = {ENGLISH: "English", "zh": "中文"}
COOKIE = "wan_language"

_meant: ContextVar[str | None] = ContextVar("language of what is built or answered", default=None)


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Inside, everything is said in that language, whoever asks."""
    token = _meant.set(language)
    try:
        yield
    finally:
        _meant.reset(token)


def current_language() -> str:
    """That of the visitor whose event is handled, else of the request or the page in `speaking`."""
    from gradio.context import LocalContext  # seconds, which the start flags have no need of

    event = LocalContext.request.get(None)
    remembered = getattr(getattr(event, "state", None), "language", None)
    return remembered or _meant.get() or ENGLISH


def language_of(request: "Request", start: str | None) -> str:
    """The language to answer a request in, remembered for the events that come of it. `start` is the start
    flag's, None to ask the browser.
    """
    chosen = request.cookies.get(COOKIE)
    wanted = request.headers.get("accept-language", "")[:2].lower()
    known = [name for name in (chosen, start, wanted) if name in LANGUAGES]
    request.state.language = next(iter(known), ENGLISH)
    return str(request.state.language)
