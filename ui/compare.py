"""Two results beside each other: their players, which run as one, and the settings in which they differ."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import gradio as gr

from ui.cards import as_sentence, card, table
from ui.fields import label_of
from ui.settings_rows import asked_value, fields_of, ran_name
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.fields import Row
from wanvideo.library.settings import VideoSettings

SCRIPT = Path(__file__).with_name("compare.js")
MARKS = ("A", "B")
NOTHING = "–"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One of the two. `facts` is its line below the player, `fps` and `seconds` are those of its pictures."""

    path: Path
    facts: str
    fps: float
    seconds: float
    has_sound: bool
    settings: VideoSettings | UserError


def build_compare() -> gr.HTML:
    """The card, empty; `compare.js` runs its players."""
    return gr.HTML(js_on_load=SCRIPT.read_text("utf-8"), elem_id="compare")


def picking_card(name: str) -> str:
    """What to do next: choose the second one."""
    words = f"<p class='hint'>{escape(say('compare_pick', name=name))}</p>"
    return card(say("compare"), f"{_close(say('compare_cancel'))}{words}", "compare picking")


def compare_card(pair: Sequence[Compared]) -> str:
    """The players, what steers them, and the differences."""
    loud = next((index for index, one in enumerate(pair) if one.has_sound), None)
    players = "".join(_player(one, index, index == loud) for index, one in enumerate(pair))
    both = f"<div class='pair'>{players}</div>{_transport(pair)}"
    return card(say("compare"), f"{_close(say('compare_close'))}{both}{_differences(pair)}", "compare")


def _player(one: Compared, index: int, is_loud: bool) -> str:
    sound = (
        f"<button type='button' data-sound='{index}' aria-pressed='{str(is_loud).lower()}'>"
        f"{say('compare_sound')}</button>"
        if one.has_sound
        else ""
    )
    # Relative to the page: it may lie behind a link that is shared.
    source = f"gradio_api/file={quote(str(one.path))}"
    return (
        f"<figure><video src='{escape(source)}' preload='auto' playsinline muted></video>"
        f"<figcaption><b>{MARKS[index]}</b><span>{escape(one.path.name)}<small>{escape(one.facts)}</small></span>"
        f"{sound}</figcaption></figure>"
    )


def _transport(pair: Sequence[Compared]) -> str:
    """An arrow key on the slider goes on by a frame."""
    longest, step = max(one.seconds for one in pair), 1 / max(one.fps for one in pair)
    play, stop = escape(say("compare_play")), escape(say("compare_pause"))
    return (
        f"<div class='transport'><button type='button' data-do='play' data-play='{play}' data-pause='{stop}' "
        f"aria-label='{play}'>▶</button><input type='range' min='0' max='{longest:.3f}' step='{step:.4f}' "
        f"value='0' aria-label='{escape(say('compare_time'))}'><output></output></div>"
    )


def _close(words: str) -> str:
    return f"<button type='button' data-action='close'>{words}</button>"


def _differences(pair: Sequence[Compared]) -> str:
    told = [one.settings for one in pair if isinstance(one.settings, VideoSettings)]
    if len(told) < len(pair):
        faults = [one.settings for one in pair if isinstance(one.settings, UserError)]
        return "".join(f"<p class='hint'>{escape(as_sentence(str(fault)))}</p>" for fault in faults)
    asked, ran = asked_differences(*told), ran_differences(*told)
    ran = [row for row in ran if row not in asked]
    if not asked and not ran:
        return f"<p class='hint'>{say('compare_same')}</p>"
    return _part(say("gallery_request"), asked) + _part(say("gallery_effective"), ran)


def _part(title: str, rows: Sequence[Sequence[str]]) -> str:
    head = (say("compare_setting"), *MARKS)
    return f"<details open><summary>{title}</summary>{table(rows, head)}</details>" if rows else ""


def asked_differences(one: VideoSettings, two: VideoSettings) -> list[tuple[str, str, str]]:
    """(name, value, value) of each request field in which they differ. A field that is not named has its
    default.
    """
    rows = []
    for name, row in fields_of(one, two):
        values = (one.request.get(name, row.default), two.request.get(name, row.default))
        first, second = (_asked_or_default(row, value) for value in values)
        rows.append((label_of(row), first, second))
    return _differing(rows)


def _asked_or_default(row: Row, value: Any) -> str:
    if value in ("", ()) or (value is None and row.kind in ("path", "text")):
        return NOTHING
    return say("automatic") if value is None else asked_value(row, value)


def ran_differences(one: VideoSettings, two: VideoSettings) -> list[tuple[str, str, str]]:
    """The same of what really ran; what is known of one of them alone is left out."""
    first, second = one.effective, two.effective
    return _differing([(ran_name(name), first[name], second[name]) for name in first if name in second])


def _differing(rows: Sequence[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    return [row for row in rows if row[1] != row[2]]
