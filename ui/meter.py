"""The live meter as HTML: small bars for memory, and what is copied."""

from collections.abc import Iterator
from html import escape

from ui.texts import say
from wanvideo.live_meter import CardReading, Reading

GIB = 1 << 30  # as cards and memory are sold
GIGA = 1e9


def meter_html(reading: Reading | None) -> str:
    """A bar for each card and for main memory; without a card one for the processor. Nothing while nothing is
    known.
    """
    if reading is None:
        return ""
    return f"<ul class='meter'>{''.join(_rows(reading))}</ul>"


def _rows(reading: Reading) -> Iterator[str]:
    several = len(reading.cards) > 1
    for number, card in enumerate(reading.cards):
        label = say("meter_card_of", number=number) if several else say("meter_card")
        yield _bar(label, card.used_bytes, card.total_bytes, card.name)
    yield _bar(say("meter_memory"), reading.ram_used, reading.ram_total)
    if reading.cards:
        yield _row(say("meter_copies"), _copies(reading.cards))
    else:
        load = reading.processor
        words = "-" if load is None else f"{load:.0%}"
        yield _row(say("meter_processor"), words, load or 0.0)


def _copies(cards: tuple[CardReading, ...]) -> str:
    """Of all cards together; unknown when one of them does not tell."""
    rates = [card.copied for card in cards if card.copied is not None]
    return f"{sum(rates) / GIGA:.1f} GB/s" if len(rates) == len(cards) else "-"


def _bar(label: str, used: int, total: int, title: str = "") -> str:
    words = f"{used / GIB:.1f} / {total / GIB:.0f} GB"
    return _row(label, words, used / total if total else 0.0, title)


def _row(label: str, words: str, share: float | None = None, title: str = "") -> str:
    percent = 100 * min(1.0, share or 0.0)
    bar = "" if share is None else f"<span class='bar'><i style='width:{percent:.0f}%'></i></span>"
    return f"<li title='{escape(title)}'><span>{escape(label)}</span>{bar}<small>{words}</small></li>"
