"""Save as: the chosen video is written in another format in the background and given as a download."""

from functools import partial
from html import escape
from typing import Any

import gradio as gr

from ui.cards import as_sentence, card
from ui.forecast import Updates
from ui.gallery import size_words
from ui.gallery_choice import View, chosen_result
from ui.parts import Page
from ui.restore import toast
from ui.saving import format_names
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.library.exporting import DONE, FAILED, IDLE, RUNNING, Exporting

TICK_SECONDS = 0.5


def connect_saving(page: Page, view: gr.State) -> None:
    """Wire its events; called inside the page's Blocks."""
    part = page.gallery.saving
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    timer = gr.Timer(TICK_SECONDS, active=False)
    shown = [part.state, part.stop, part.download, timer]
    look = partial(look_at_export, page, timer)
    part.save.click(partial(save_as, page, timer), [view, part.format], shown, **quiet)
    part.stop.click(part.exports.stop, None, None, **quiet)
    gr.on([timer.tick, page.gallery.tab.select], look, None, shown, **quiet)


def save_as(page: Page, timer: gr.Timer, seen: View, name: str) -> Updates:
    """Begin; a toast says why not."""
    try:
        page.gallery.saving.exports.start(chosen_result(page, seen).path, name)
    except UserError as error:
        toast(gr.Warning, str(error))
    return look_at_export(page, timer)


def look_at_export(page: Page, timer: gr.Timer) -> Updates:
    """The export as it stands; the page asks again while it runs."""
    part = page.gallery.saving
    now = part.exports.now
    runs, file = now.state == RUNNING, now.output
    is_there = now.state == DONE and file is not None and file.is_file()
    return {
        part.state: saving_card(now),
        part.stop: gr.update(visible=runs and not now.stopping),
        part.download: gr.update(visible=is_there, value=str(file) if is_there else None),
        timer: gr.Timer(active=runs),
    }


def saving_card(now: Exporting) -> str:
    """The bar of the running export, or how the last one ended; empty before the first."""
    if now.state == IDLE:
        return ""
    title = say("save_title", name=now.video, format=format_names()[now.format])
    if now.state == FAILED:
        return card(title, f"<p>{escape(as_sentence(now.error))}</p>", "error")
    if now.state == RUNNING:
        percent = 100 * now.fraction
        told = say("save_stopping") if now.stopping else say("save_percent", percent=f"{percent:.0f}")
        return card(
            title, f"<div class='bar'><i style='width:{percent:.1f}%'></i></div><p class='hint'>{told}</p>"
        )
    return card(title, f"<p class='hint'>{_ended(now)}</p>")


def _ended(now: Exporting) -> str:
    if now.output is None:
        return say("save_stopped")
    if not now.output.is_file():
        return say("save_gone", name=escape(now.output.name))
    size = size_words(now.output.stat().st_size)
    return say("save_done", name=escape(now.output.name), size=size)
