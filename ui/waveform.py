"""The speech as a drawing under its widgets, with the windows that the planner makes of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import accumulate
from typing import Any

from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.media.peaks import sound_peaks
from wanvideo.media.probe import probe_sound
from wanvideo.plan import GenerationPlan

WIDE, HIGH = 1000, 60  # units of the drawing of one voice; it is stretched to the page
FRAME = 0.041  # seconds: a video is cut to whole frames, which is nothing to be shown
LOUDEST = 0.92  # of the height
MOST_NUMBERS = 24  # windows that are numbered
STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800)
MOST_MARKS = 7  # of the axis
LAST = 95  # percent of the axis: a mark farther right would reach out of it


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """A speaker's sound: when it begins on the axis, how long it is, and its peaks."""

    start: float
    seconds: float
    peaks: tuple[float, ...]


def waveform(settings: Mapping[str, Any], plan: GenerationPlan | None) -> str:
    """HTML for the speech in the form's settings; nothing without speech, or for one that can't be read, of
    which the forecast tells. Without a plan no windows are drawn.
    """
    try:
        voices = _voices(settings.get("audio", ()), settings.get("audio_order", "together"))
    except UserError:
        return ""
    if not voices:
        return ""
    borders = () if plan is None or not plan.uses_speech else _borders(plan)
    end = max([voice.start + voice.seconds for voice in voices] + list(borders[-1:]))
    rows = "".join(_row(voice, number, borders, end) for number, voice in enumerate(voices, 1))
    label = escape(say("waveform_label", seconds=f"{end:.1f}", windows=max(0, len(borders) - 1)))
    numbers = "".join(_numbers(borders, end))
    drawn = f"<div class='plot' role='img' aria-label='{label}'>{numbers}{rows}</div>"
    return f"<div class='waveform'>{drawn}<div class='axis'>{''.join(_marks(end))}</div></div>"


def _voices(paths: Sequence[str], order: str) -> list[Voice]:
    lengths = [probe_sound(path).seconds for path in paths]
    starts = [sum(lengths[:number]) if order == "sequence" else 0.0 for number in range(len(lengths))]
    return [
        Voice(start=start, seconds=seconds, peaks=sound_peaks(path))
        for path, start, seconds in zip(paths, starts, lengths, strict=True)
    ]


def _borders(plan: GenerationPlan) -> tuple[float, ...]:
    """In seconds of the speech: where the first window's new frames begin, and where each window's end."""
    keeps = accumulate((window.keep for window in plan.windows), initial=0)
    return tuple(plan.request.audio_start + frames / plan.settings.fps for frames in keeps)


def _row(voice: Voice, number: int, borders: Sequence[float], end: float) -> str:
    lines = "".join(f"<path class='border' d='M{_x(at, end)} 0V{HIGH}'/>" for at in borders[1:-1])
    begin, over = (borders[0], borders[-1]) if borders else (0.0, end)
    unused = [(0.0, begin), (over, end)]
    greyed = "".join(
        f"<rect class='unused' x='{_x(left, end)}' width='{_x(right - left, end)}' height='{HIGH}'/>"
        for left, right in unused
        if right - left > FRAME
    )
    drawn = f"<path class='voice' d='{_outline(voice, end)}'/>{lines}{greyed}"
    title = say("boxes_speaker", number=number)
    svg = f"<svg viewBox='0 0 {WIDE} {HIGH}' preserveAspectRatio='none' aria-hidden='true'>{drawn}</svg>"
    return f"<div class='row v{number}' title='{escape(title)}'>{svg}</div>"


def _outline(voice: Voice, end: float) -> str:
    """The peaks upwards, and back the same downwards."""
    if not voice.peaks:
        return ""
    loudest = max(max(voice.peaks), 1e-3)
    step = voice.seconds / len(voice.peaks)
    middle, reach = HIGH / 2, LOUDEST * HIGH / 2
    points = [
        (_x(voice.start + (place + 0.5) * step, end), reach * peak / loudest + 0.4)
        for place, peak in enumerate(voice.peaks)
    ]
    upper = [f"{x} {middle - height:.1f}" for x, height in points]
    lower = [f"{x} {middle + height:.1f}" for x, height in reversed(points)]
    return f"M{'L'.join(upper + lower)}Z"


def _numbers(borders: Sequence[float], end: float) -> Iterator[str]:
    """A number over each window, and its seconds for whoever points at it."""
    windows = list(zip(borders, borders[1:], strict=False))
    for number, (left, right) in enumerate(windows, 1):
        if len(windows) <= MOST_NUMBERS:
            where = f"left:{100 * left / end:.2f}%;width:{100 * (right - left) / end:.2f}%"
            span = escape(say("timeline_span", start=f"{left:.1f}", end=f"{right:.1f}"))
            yield f"<i style='{where}' title='{span}'>{number}</i>"


def _marks(end: float) -> Iterator[str]:
    """Whole seconds along the axis, as many as there is room for."""
    step = next((step for step in STEPS if end / step <= MOST_MARKS), STEPS[-1])
    for count in range(int(end / step + 1e-6) + 1):
        place = 100 * count * step / end
        side = "first" if not count else "last" if place > LAST else ""
        yield f"<span class='{side}' style='left:{place:.2f}%'>{_clock(count * step)}</span>"


def _clock(time: float) -> str:
    if time < 60:
        return say("seconds_short", seconds=f"{time:g}")
    return f"{int(time) // 60}:{int(time) % 60:02d}"


def _x(time: float, end: float) -> str:
    return f"{WIDE * time / end:.1f}"
