"""The strip of a finished video's windows: where each lies, how it looks, what was measured, and a button."""

import base64
from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from ui.film import Film, Span, film_of
from ui.texts import say
from ui.texts.notes import in_language
from wanvideo.errors import UserError
from wanvideo.jobs.job import Job
from wanvideo.media.stills import small_pictures

REDO = "redo-"  # with the window's index behind it: the action of a button
EDGE = 176  # pixels of a picture's longer side
MOST_PICTURES = 60  # a strip of more has none: the page would grow by megabytes


def timeline(job: Job) -> str:
    """A tile for each part of the job's video; nothing for a video of one window."""
    try:
        film = film_of(job)
        return "" if film is None else _strip(job, film, _pictures(film))
    except UserError as error:
        return f"<p class='hint'>{escape(in_language(str(error)))}</p>"


def _strip(job: Job, film: Film, pictures: Sequence[str]) -> str:
    tiles = "".join(
        f"<li>{picture}{_words(job, film, part, place)}</li>"
        for place, (part, picture) in enumerate(zip(film.parts, pictures, strict=True))
    )
    if film.rest and film.can_redo:
        tiles += f"<li class='rest'>{_button(job, film.rest, say('redo_rest'))}</li>"
    hint = f"<p class='hint'>{say('timeline_note')}</p>" if film.can_redo else ""
    strip = f"<ol class='timeline' tabindex='0' aria-label='{escape(say('timeline'))}'>{tiles}</ol>"
    return f"<details open><summary>{say('timeline')}</summary>{hint}{strip}</details>"


def index_of(action: str) -> int | None:
    """The window of a button's action; None for another action."""
    number = action.removeprefix(REDO)
    return int(number) if action.startswith(REDO) and number.isascii() and number.isdigit() else None


def _words(job: Job, film: Film, part: Span, place: int) -> str:
    name = say("timeline_kept") if part.index < 0 else say("timeline_window", number=part.index + 1)
    ends = {"start": f"{part.first / film.fps:.1f}", "end": f"{part.end / film.fps:.1f}"}
    told = f"<b>{name}</b><span>{say('timeline_span', **ends)}</span>"
    if part.index < 0:
        return told
    told += _figures(job.result.get("quality", {}), place)
    way = escape(_way(job.result.get("effective", {}), part.index))
    told += f"<small title='{escape(say('timeline_way'))}'>{way}</small>"
    return told + (_button(job, part, say("redo")) if film.can_redo else "")


def _button(job: Job, part: Span, words: str) -> str:
    label = escape(say("redo_label", number=part.index + 1))
    action = f"data-action='{REDO}{part.index}' data-job='{job.id}'"
    return f"<button {action} aria-label='{label}' title='{label}'>{words}</button>"


def _figures(quality: Mapping[str, Any], place: int) -> str:
    """Colour drift of the part, and the jump into it from the one before."""
    known = {
        say("timeline_colour"): (quality.get("colour_drift"), place),
        say("timeline_jump"): (quality.get("seam_jump"), place - 1),
    }
    return "".join(_figure(words, figure, at) for words, (figure, at) in known.items() if figure)


def _figure(words: str, figure: Mapping[str, Any], at: int) -> str:
    values: Sequence[float | None] = figure["values"]
    value = values[at] if 0 <= at < len(values) else None
    if value is None:
        return ""
    kind = "past" if abs(value) > figure["limit"] else ""
    limit = escape(say("quality_limit", limit=f"{figure['limit']:.3g}"))
    return f"<small class='{kind}' title='{limit}'>{words} {value:.2g}</small>"


def _way(ran: Mapping[str, Any], index: int) -> str:
    """What computed a window: that of all of them, unless it changed midway."""
    ways = ran.get("window_ways", ())
    alike = ", ".join(str(ran[name]) for name in ("attention", "quantization") if name in ran)
    return str(ways[index]) if index < len(ways) else alike


def _pictures(film: Film) -> list[str]:
    if len(film.parts) > MOST_PICTURES:
        return [""] * len(film.parts)
    times = tuple(part.first / film.fps for part in film.parts)
    coded = _coded(film.path, film.path.stat().st_mtime_ns, times)
    return [f"<img alt='' src='data:image/jpeg;base64,{data}'>" for data in coded]


@lru_cache(maxsize=16)
def _coded(path: Path, _modified: int, times: tuple[float, ...]) -> tuple[str, ...]:
    return tuple(base64.b64encode(data).decode() for data in small_pictures(path, times, EDGE))
