"""The Gallery tab: the videos of the output folder, and beside them the chosen one and how it was made."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.blocks import BlockContext

from ui.cards import as_sentence, card, duration, table
from ui.compare import build_compare
from ui.saving import SavePart, build_choice, build_saving
from ui.settings_rows import asked_rows, ran_rows
from ui.texts import say
from ui.texts.notes import in_language
from wanvideo.downloads.catalog import words_for_bytes
from wanvideo.errors import UserError
from wanvideo.library.results import PAGE, Result, Shelf
from wanvideo.library.settings import VideoSettings

# A click on an element with data-action becomes the event {action, name}.
CLICKS = """
element.addEventListener('click', (event) => {
  const target = event.target.closest('[data-action]');
  if (target) trigger('click', {action: target.dataset.action, name: target.dataset.name});
});
"""
MEGA = 1_000_000
# `first` is the video that the next one clicked is compared with.
NO_CHOICE: Mapping[str, Any] = {"page": 1, "name": None, "upload": None, "first": None}


@dataclass(frozen=True, slots=True, kw_only=True)
class GalleryTab:
    """What events read or write. `detail` is shown when a video is chosen, `again` when it holds settings,
    `only_results` when it is one of the folder's.
    """

    tab: gr.Tab
    search: gr.Textbox
    refresh: gr.Button
    grid: gr.HTML
    newer: gr.Button
    older: gr.Button
    drop: gr.File
    hint: gr.HTML
    detail: BlockContext
    video: gr.Video
    again: BlockContext
    reuse: gr.Button
    keep_seed: gr.Checkbox
    options: gr.Button
    only_results: BlockContext
    last_frame: gr.Button
    extend: gr.Button
    download: gr.DownloadButton
    delete: gr.Button
    card: gr.HTML
    compare_with: gr.Button
    compare: gr.HTML
    saving: SavePart


def build_gallery(tab: gr.Tab) -> GalleryTab:
    """Place the tab's widgets in `tab`, which is open; not yet connected."""
    compare = build_compare()
    with gr.Row(elem_classes="columns"):
        with gr.Column(scale=6, min_width=340):
            with gr.Row(elem_classes="gallery-bar"):
                search = gr.Textbox(
                    label=say("gallery_search"),
                    show_label=False,
                    placeholder=say("gallery_search_hint"),
                    max_lines=1,
                    container=False,
                    elem_id="gallery-search",
                )
                refresh = gr.Button(say("gallery_refresh"), size="sm", scale=0, min_width=100)
            grid = gr.HTML(js_on_load=CLICKS, elem_id="shelf")
            with gr.Row(elem_classes="pager"):
                newer = gr.Button(say("gallery_newer"), size="sm", scale=0, min_width=110, visible=False)
                older = gr.Button(say("gallery_older"), size="sm", scale=0, min_width=110, visible=False)
        with gr.Column(scale=5, min_width=340):
            chosen = _build_chosen()
            with gr.Accordion(say("gallery_drop"), open=False):
                gr.HTML(f"<p class='hint'>{say('gallery_drop_note')}</p>")
                drop = gr.File(
                    file_types=["video", ".gif"], show_label=False, height=110, elem_id="gallery-drop"
                )
    bar: dict[str, Any] = {"search": search, "refresh": refresh, "newer": newer, "older": older}
    return GalleryTab(tab=tab, compare=compare, grid=grid, drop=drop, **bar, **chosen)


def _build_chosen() -> dict[str, Any]:
    hint = gr.HTML(card(say("gallery_pick"), f"<p class='hint'>{say('gallery_pick_note')}</p>"))
    with gr.Column(visible=False, elem_id="chosen") as detail:
        video = gr.Video(interactive=False, show_label=False, height=380, elem_id="gallery-video")
        with gr.Row(elem_classes="actions") as again:
            reuse = gr.Button(say("gallery_reuse"), variant="primary", size="sm", elem_id="gallery-reuse")
            options = gr.Button(say("gallery_options"), size="sm")
            keep_seed = gr.Checkbox(label=say("gallery_keep_seed"), container=False, min_width=130)
        with gr.Column() as only_results:
            buttons = _build_actions()
            choice = build_choice()
        saving = build_saving(choice)
        about = gr.HTML(elem_id="gallery-card")
    return {
        **buttons,
        "saving": saving,
        "hint": hint,
        "detail": detail,
        "video": video,
        "again": again,
        "reuse": reuse,
        "keep_seed": keep_seed,
        "options": options,
        "only_results": only_results,
        "card": about,
    }


def _build_actions() -> dict[str, Any]:
    with gr.Row(elem_classes="actions"):
        return {
            "last_frame": gr.Button(say("gallery_last_frame"), size="sm", min_width=190),
            "extend": gr.Button(say("extend"), size="sm", min_width=90, elem_id="gallery-extend"),
            "compare_with": gr.Button(say("compare_with"), size="sm", min_width=130, elem_id="compare-with"),
            "download": gr.DownloadButton(say("gallery_download"), size="sm", min_width=100),
            "delete": gr.Button(say("gallery_delete"), size="sm", min_width=80, elem_id="gallery-delete"),
        }


def shelf_html(shelf: Shelf, chosen: str | None, is_search: bool) -> str:
    """A tile for each result, and how many there are."""
    if not shelf.results:
        words = say("gallery_not_found") if is_search else say("gallery_none")
        return f"<p class='hint'>{words}</p>"
    first = (shelf.number - 1) * PAGE + 1
    count = say("gallery_count", first=first, last=first + len(shelf.results) - 1, total=shelf.total)
    tiles = "".join(_tile(result, result.path.name == chosen) for result in shelf.results)
    return f"<div class='shelf'>{tiles}</div><p class='hint count'>{count}</p>"


def _tile(result: Result, is_chosen: bool) -> str:
    facts, name = result.facts, escape(result.path.name)
    badge = say("gallery_unreadable") if facts.fault else duration(facts.seconds)
    title, when = _title(result), datetime.fromtimestamp(result.modified)
    pressed = "true" if is_chosen else "false"
    return (
        f"<button class='tile' data-action='open' data-name='{name}' title='{name}' aria-pressed='{pressed}'>"
        f"<span class='still'>{_picture(result.thumbnail)}<i>{badge}</i></span>"
        f"<b>{escape(title)}</b><small>{when:%Y-%m-%d %H:%M}</small></button>"
    )


def _title(result: Result) -> str:
    """Its prompt, else its name."""
    try:
        return str(result.settings().request.get("prompt") or result.path.name)
    except UserError:
        return result.path.name


def _picture(thumbnail: Path) -> str:
    try:
        data = base64.b64encode(thumbnail.read_bytes()).decode()
    except OSError:  # a video that can't be read has none
        return ""
    return f"<img alt='' src='data:image/jpeg;base64,{data}'>"


def result_facts(result: Result) -> str:
    """One line: length, size, frames."""
    facts = result.facts
    return say(
        "gallery_facts",
        seconds=duration(facts.seconds),
        width=facts.width,
        height=facts.height,
        frames=facts.frames,
        fps=f"{facts.fps:g}",
        size=size_words(result.bytes),
    )


def size_words(size: int) -> str:
    """1.2 GB, 3.4 MB, 12 kB; what is smaller than a kB counts as one."""
    return words_for_bytes(size) if size >= MEGA else f"{max(1, round(size / 1000))} kB"


def settings_card(name: str, facts: str, settings: VideoSettings | UserError) -> str:
    """How the video was made, or why that can't be told."""
    line = f"<p class='hint'>{escape(facts)}</p>" if facts else ""
    if isinstance(settings, UserError):
        return card(name, f"{line}<p>{escape(as_sentence(str(settings)))}</p>", "result")
    notes = "".join(f"<li>{escape(in_language(note))}</li>" for note in settings.notes)
    if notes:
        notes = f"<p class='refused'>{say('gallery_notes')}</p><ul class='notes'>{notes}</ul>"
    tables = _part(say("gallery_request"), asked_rows(settings), "open")
    tables += _part(say("gallery_effective"), ran_rows(settings), "")
    return card(name, line + notes + tables, "result")


def _part(title: str, rows: Sequence[tuple[str, str]], state: str) -> str:
    return f"<details {state}><summary>{title}</summary>{table(rows)}</details>" if rows else ""
