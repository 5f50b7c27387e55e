"""Compare with…: a second tile is chosen, and both videos are shown beside each other."""

from typing import Any

import gradio as gr

from ui.compare import Compared, compare_card, picking_card
from ui.forecast import Updates
from ui.gallery import result_facts
from ui.gallery_choice import View, chosen_result, told_settings
from ui.going_on import output_folder
from ui.parts import Page
from ui.restore import toast
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.library.results import find_result
from wanvideo.media.probe import probe_video


def connect_compare(page: Page, view: gr.State) -> None:
    """Wire its own events; called inside the page's Blocks. The click on the second tile is the gallery's."""
    tab = page.gallery
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shown = [tab.compare, view]
    tab.compare_with.click(lambda seen: pick_second(page, view, seen), view, shown, **quiet)
    tab.compare.click(lambda seen: {tab.compare: "", view: {**seen, "first": None}}, view, shown, **quiet)


def pick_second(page: Page, state: gr.State, seen: View) -> Updates:
    """The next tile that is clicked is compared with the chosen one."""
    try:
        name = chosen_result(page, seen).path.name
    except UserError as error:
        toast(gr.Warning, str(error))
        return {state: seen}
    return {page.gallery.compare: picking_card(name), state: {**seen, "first": name}}


def compare_two(page: Page, state: gr.State, seen: View, second: str) -> Updates:
    """The two beside each other; with the same one again the choice goes on."""
    if second == seen["first"]:
        toast(gr.Info, say("compare_other"))
        return {state: seen}
    try:
        shown = compare_card([_compared(page, name) for name in (seen["first"], second)])
    except UserError as error:
        toast(gr.Warning, str(error))
        return {state: seen}
    return {page.gallery.compare: shown, state: {**seen, "first": None}}


def _compared(page: Page, name: str) -> Compared:
    """Raises UserError for a video that is gone or can't be read."""
    result = find_result(output_folder(page), name)
    video = probe_video(result.path)
    return Compared(
        path=result.path,
        facts=result_facts(result),
        fps=video.fps,
        seconds=video.seconds,
        has_sound=video.has_sound,
        settings=told_settings(page, result),
    )
