"""Which language a visitor reads, and a page whose configuration is in it."""

from pathlib import Path
from typing import Any

import pytest
from starlette.requests import Request

from tests.ui.test_fields import CPU
from ui.head import early_script
from ui.language import COOKIE, LANGUAGES, current_language, language_of, speaking
from ui.page import build_page
from ui.texts import SENTENCES, say
from wanvideo.jobs.store import JobStore


def request(cookie: str = "", accept: str = "") -> Request:
    headers = [(b"cookie", cookie.encode()), (b"accept-language", accept.encode())]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


@pytest.mark.parametrize(
    ("cookie", "accept", "start", "spoken"),
    [
        ("", "", None, "en"),
        ("", "zh-CN,zh;q=0.9", None, "zh"),
        ("", "fr-FR", None, "en"),
        ("", "zh-CN", "en", "en"),
        ("", "en-US", "zh", "zh"),
        (f"{COOKIE}=en", "zh-CN", "zh", "en"),
        (f"{COOKIE}=zh", "en", "en", "zh"),
        (f"{COOKIE}=../etc", "en", None, "en"),
    ],
)
def test_the_choice_of_a_visitor_comes_before_the_flag_and_the_browser(
    cookie: str, accept: str, start: str | None, spoken: str
) -> None:
    asked = request(cookie, accept)
    assert language_of(asked, start) == spoken == asked.state.language


def test_what_is_said_follows_the_language() -> None:
    assert current_language() == "en"
    for language in LANGUAGES:
        with speaking(language):
            assert say("generate") == SENTENCES[language]["generate"]


def test_the_page_is_sent_in_the_visitor_s_language_with_the_same_events(tmp_path: Path) -> None:
    blocks = build_page(JobStore(tmp_path / "queue.sqlite"), {}, CPU)
    english = blocks.config
    with speaking("zh"):
        chinese = blocks.config
    assert words_of(english)["generate"] == SENTENCES["en"]["generate"]
    assert words_of(chinese)["generate"] == SENTENCES["zh"]["generate"]
    assert ids_of(chinese) == ids_of(english) and chinese["dependencies"] == english["dependencies"]
    assert words_of(blocks.config) == words_of(english), "the first language is left as it was"


def words_of(config: dict[str, Any]) -> dict[str, Any]:
    props = [component["props"] for component in config["components"]]
    return {prop["elem_id"]: prop.get("value") for prop in props if prop.get("elem_id")}


def ids_of(config: dict[str, Any]) -> list[Any]:
    return [(part["id"], part["type"], part["props"].get("component_ids")) for part in config["components"]]


def test_the_browser_is_told_the_same_choice() -> None:
    script = early_script("zh")
    assert '"start": "zh"' in script and COOKIE in script and "</script" not in script[:-9]
