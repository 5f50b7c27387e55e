"""What the engine says (notes, errors, lines of a plan), which is English, in the visitor's language.

`notes_zh.json` holds sentences of the engine with … for what is filled in, and the Chinese with {0}, {1} for
it; the first that fits counts. What is filled in may be such a sentence itself, or the name of a field. A
sentence without a pair stays English.
"""

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from ui.language import ENGLISH, current_language
from ui.texts import say, say_or

DIFFERS = "…"
# A UserError as text.
_ERROR = re.compile(
    r"(?P<what>.+?)(?P<got>, got (?P<value>.+?))?(?P<may>; allowed: (?P<allowed>.+?))?\.(?: (?P<fix>.+))?",
    re.DOTALL,
)
_LOOSE = re.compile(r"(?<=[\u4e00-\u9fff“”]) (?=[\u4e00-\u9fff“”])")  # a hole filled with Chinese
_COUNTED = re.compile(r"(?P<count>\d[\d.,x-]*)(?: (?P<word>\w+))?")
_LISTS: Mapping[str, str] = {" or ": "list_or", " to ": "list_to", " and ": "list_and", ", ": "list_and"}


def in_language(text: str) -> str:
    """The sentence of the engine as the visitor reads it."""
    if current_language() == ENGLISH:
        return text
    return _LOOSE.sub("", _error(text) or _sentence(text) or text)


def in_parts(text: str) -> str:
    """As `in_language`, for a line that may be of several parts with commas between them."""
    parts = text.split(", ")
    said = [_sentence(part) or _name(part) for part in parts] if current_language() != ENGLISH else []
    if any(said):
        return say("list_parts").join(words or part for words, part in zip(said, parts, strict=True))
    return in_language(text)


@cache
def pairs(language: str) -> Mapping[str, str]:
    """Sentence of the engine -> sentence in that language."""
    written = Path(__file__).with_name(f"notes_{language}.json").read_text(encoding="utf-8")
    return dict[str, str](json.loads(written))


@cache
def _patterns(language: str) -> list[tuple[re.Pattern[str], str]]:
    return [(_pattern(sentence), words) for sentence, words in pairs(language).items()]


def _pattern(sentence: str) -> re.Pattern[str]:
    """A colon parts a name from its reason, so the first thing filled in holds none."""
    pattern = "(.+?)".join(map(re.escape, sentence.split(DIFFERS)))
    return re.compile(re.sub(r"^\(\.\+\?\)", "([^:]+?)", pattern), re.DOTALL)


def _known(text: str) -> str | None:
    """The first pair that fits the whole text."""
    for pattern, words in _patterns(current_language()):
        if found := pattern.fullmatch(text):
            return words.format(*map(_filled_in, found.groups()))
    return None


def _sentence(text: str) -> str | None:
    return _known(text) or _reason(text) or _clauses(text)


def _filled_in(text: str) -> str:
    found = (read(text) for read in (_sentence, _name, _counted, _list))
    return next((words for words in found if words), text)


def _name(text: str) -> str | None:
    """A field or a task, as the page calls it."""
    return say_or(f"label_{text}", "") or say_or(f"task_{text}", "") or None


def _counted(text: str) -> str | None:
    """A number, maybe with its unit."""
    found = _COUNTED.fullmatch(text)
    if found is None or not found["word"]:
        return text if found else None
    word = _known(found["word"])
    return f"{found['count']} {word}" if word else None


def _list(text: str) -> str | None:
    """Several of what is known."""
    for mark, key in _LISTS.items():
        parts = [_name(part) or _counted(part) or _known(part) for part in text.split(mark)]
        if len(parts) > 1 and all(parts):
            return say(key).join(map(str, parts))
    return None


def _clauses(text: str) -> str | None:
    parts = [_known(part) for part in text.split("; ")]
    return say("list_clauses").join(map(str, parts)) if len(parts) > 1 and all(parts) else None


def _reason(text: str) -> str | None:
    """What has a name in front of it: "sageattn: package not installed"."""
    name, mark, rest = text.partition(": ")
    words = _known(rest) if mark and " " not in name else None
    return say("note_about", name=name, note=words) if words else None


def _error(text: str) -> str | None:
    found = _ERROR.fullmatch(text)
    what = _sentence(found["what"]) if found else None
    if found is None or what is None:
        return None
    got = say("error_got", value=found["value"]) if found["got"] else ""
    may = say("error_allowed", allowed=_filled_in(found["allowed"])) if found["may"] else ""
    fix = in_language(found["fix"]) if found["fix"] else ""
    return say("error_sentence", what=what, got=got, allowed=may, fix=fix)
