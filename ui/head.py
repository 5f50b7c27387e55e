"""The head of the page: its name, the machine, and the switches for language and for dark or light."""

import json
from html import escape
from pathlib import Path

import gradio as gr

from ui.language import COOKIE, LANGUAGES
from ui.model_settings import machine_line
from ui.texts import say
from wanvideo.hardware import Hardware

SWITCHES = Path(__file__).with_name("switches.js")
# Runs before gradio's own code: its words follow the browser's language, its colours this choice.
EARLY = Path(__file__).with_name("early.js")


def build_head(machine: Hardware) -> None:
    """Place it in the surrounding Blocks."""
    gr.HTML(_head(machine), js_on_load=SWITCHES.read_text("utf-8"), elem_id="head")


def early_script(start: str | None) -> str:
    """For the HTML head of the page; `start` is the language of the start flag."""
    settings = json.dumps({"cookie": COOKIE, "start": start, "known": list(LANGUAGES)})
    return f"<script>(({{cookie, start, known}}) => {{{EARLY.read_text('utf-8')}}})({settings})</script>"


def _head(machine: Hardware) -> str:
    languages = "".join(
        f"<button data-language='{name}' data-cookie='{COOKIE}'>{escape(shown)}</button>"
        for name, shown in LANGUAGES.items()
    )
    theme = f"<button data-theme title='{say('theme')}' aria-label='{say('theme')}'>◐</button>"
    return (
        f"<header><div><h1>{say('title')}</h1><p>{say('tagline')}</p></div>"
        f"<div class='switches'><span class='chip'>{escape(machine_line(machine))}</span>"
        f"<span class='segments-small' role='group'>{languages}</span>{theme}</div></header>"
    )
