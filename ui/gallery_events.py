"""What the Gallery tab does: look, search, turn pages, choose, and use a video again."""

from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from ui.compare_events import compare_two, connect_compare
from ui.fields import Values
from ui.forecast import Updates
from ui.gallery import NO_CHOICE, GalleryTab, result_facts, settings_card, shelf_html
from ui.gallery_choice import View, chosen_result, told_settings
from ui.going_on import from_its_end, from_last_frame, output_folder
from ui.parts import Page
from ui.restore import option_updates, request_updates, settings_of_job, toast
from ui.saving_events import connect_saving
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.library.results import find_result, list_results, move_to_trash
from wanvideo.library.settings import VideoSettings, read_settings

PICTURE = ".gif"  # which no player takes


def connect_gallery(page: Page) -> None:
    """Wire the tab's events; called inside the page's Blocks."""
    tab = page.gallery
    view = gr.State(dict(NO_CHOICE))
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    looked, shelf = [tab.search, view], [tab.grid, tab.newer, tab.older, view]
    chosen = [*shelf, tab.hint, tab.detail, tab.video, tab.card, tab.again]
    chosen += [tab.only_results, tab.last_frame, tab.extend, tab.compare_with, tab.download, tab.compare]
    look = partial(show_shelf, page, view)
    gr.on([tab.tab.select, tab.refresh.click], look, looked, shelf, **quiet)
    tab.search.input(
        lambda search, seen: look(search, {**seen, "page": 1}),
        looked,
        shelf,
        trigger_mode="always_last",
        **quiet,
    )
    for button, step in ((tab.newer, -1), (tab.older, 1)):
        turn = partial(_turned, look, step)
        button.click(turn, looked, shelf, **quiet)

    def choose(search: str, seen: View, event: gr.EventData) -> Updates:
        if seen["first"] is not None:
            return compare_two(page, view, seen, event.name)
        return show_chosen(page, view, search, {**seen, "name": event.name, "upload": None})

    def drop(search: str, seen: View, file: str | None) -> Updates:
        return show_chosen(page, view, search, {**seen, "name": None, "upload": file})

    tab.grid.click(choose, looked, chosen, **quiet)
    gr.on([tab.drop.upload, tab.drop.clear], drop, [*looked, tab.drop], chosen, **quiet)
    tab.delete.click(partial(delete_chosen, page, view), looked, chosen, **quiet)
    form = [*page.form.components, page.tabs]
    tab.reuse.click(partial(reuse, page), [view, tab.keep_seed], form, **quiet)
    tab.options.click(partial(reuse_options, page), view, form, **quiet)
    picture = {view, page.form["task"]}
    tab.last_frame.click(lambda values: use_last_frame(page, values[view], values), picture, form, **quiet)
    opened = [*form, page.generation.source]
    tab.extend.click(lambda values: extend_chosen(page, values[view], values), picture, opened, **quiet)
    connect_compare(page, view)
    connect_saving(page, view)


def _turned(look: Any, step: int, search: str, seen: View) -> Updates:
    updates: Updates = look(search, {**seen, "page": seen["page"] + step})
    return updates


def show_shelf(page: Page, state: gr.State, search: str, seen: View) -> Updates:
    """The page of results that is looked at."""
    tab = page.gallery
    try:
        shelf = list_results(output_folder(page), search, seen["page"])
    except UserError as error:
        toast(gr.Warning, str(error))
        return {state: seen}
    return {
        tab.grid: shelf_html(shelf, seen["name"], bool(search.strip())),
        tab.newer: gr.update(visible=shelf.pages > 1, interactive=shelf.number > 1),
        tab.older: gr.update(visible=shelf.pages > 1, interactive=shelf.number < shelf.pages),
        state: {**seen, "page": shelf.number},
    }


def show_chosen(page: Page, state: gr.State, search: str, seen: View) -> Updates:
    """The chosen result, or the video that was dropped, beside the shelf; neither after a deletion."""
    try:
        about = _about_upload(page, seen["upload"]) if seen["upload"] else _about_result(page, seen["name"])
    except UserError as error:
        toast(gr.Warning, str(error))
        seen, about = {**seen, "name": None, "upload": None}, _about_nothing(page.gallery)
    return {**show_shelf(page, state, search, seen), **about}


def _about_result(page: Page, name: str | None) -> Updates:
    tab = page.gallery
    if name is None:
        return _about_nothing(tab)
    result = find_result(output_folder(page), name)
    fault, settings = result.facts.fault, told_settings(page, result)
    return {
        tab.hint: gr.update(visible=False),
        tab.detail: gr.update(visible=True),
        tab.video: gr.update(value=None if fault else str(result.path), visible=not fault),
        tab.again: gr.update(visible=isinstance(settings, VideoSettings)),
        tab.card: settings_card(name, "" if fault else result_facts(result), settings),
        tab.only_results: gr.update(visible=True),
        tab.last_frame: gr.update(interactive=not fault),
        tab.extend: gr.update(interactive=not fault),
        tab.compare_with: gr.update(interactive=not fault),
        tab.download: gr.update(value=str(result.path)),
    }


def _about_upload(page: Page, file: str) -> Updates:
    tab = page.gallery
    settings = read_settings(Path(file))
    return {
        tab.hint: gr.update(visible=False),
        tab.detail: gr.update(visible=True),
        tab.video: gr.update(value=file, visible=Path(file).suffix.lower() != PICTURE),
        tab.again: gr.update(visible=True),
        tab.card: settings_card(Path(file).name, "", settings),
        tab.only_results: gr.update(visible=False),
    }


def _about_nothing(tab: GalleryTab) -> Updates:
    return {
        tab.hint: gr.update(visible=True),
        tab.detail: gr.update(visible=False),
        tab.video: gr.update(value=None),
    }


def chosen_settings(page: Page, seen: View) -> tuple[str, VideoSettings]:
    """(name, settings) of the chosen video. Raises UserError when there are none or the video is gone."""
    if seen["upload"]:
        return Path(seen["upload"]).name, read_settings(Path(seen["upload"]))
    result = chosen_result(page, seen)
    return result.path.name, settings_of_job(page.store, result.path) or result.settings()


def reuse(page: Page, seen: View, keeps_seed: bool) -> Updates:
    """The request of the chosen video into the form, which is shown."""
    try:
        name, settings = chosen_settings(page, seen)
    except UserError as error:
        toast(gr.Warning, str(error))
        return {page.tabs: gr.skip()}
    updates = request_updates(page, settings, keeps_seed=keeps_seed)
    toast(gr.Info, say("gallery_restored", name=name))
    return {**updates, page.tabs: gr.Tabs(selected="generation")}


def reuse_options(page: Page, seen: View) -> Updates:
    """The options of the chosen video into Model Settings, which is shown."""
    try:
        name, settings = chosen_settings(page, seen)
    except UserError as error:
        toast(gr.Warning, str(error))
        return {page.tabs: gr.skip()}
    updates = option_updates(page, settings)
    toast(gr.Info, say("gallery_options_set", name=name))
    return {**updates, page.tabs: gr.Tabs(selected="models")}


def use_last_frame(page: Page, seen: View, values: Values) -> Updates:
    """The last frame of the chosen video as start picture, for the form's task if it takes one."""
    try:
        return from_last_frame(page, values[page.form["task"]], chosen_result(page, seen))
    except UserError as error:
        toast(gr.Warning, str(error))
        return {page.tabs: gr.skip()}


def extend_chosen(page: Page, seen: View, values: Values) -> Updates:
    """The form for a video that goes on from the chosen one; for one that holds no settings in the form's
    task.
    """
    try:
        result = chosen_result(page, seen)
        told = told_settings(page, result)
        plain = VideoSettings(request={"task": values[page.form["task"]]})
        return from_its_end(page, told if isinstance(told, VideoSettings) else plain, result.path)
    except UserError as error:
        toast(gr.Warning, str(error))
        return {page.tabs: gr.skip()}


def delete_chosen(page: Page, state: gr.State, search: str, seen: View) -> Updates:
    """Into the trash folder."""
    try:
        name = chosen_result(page, seen).path.name
        move_to_trash(output_folder(page), name)
        toast(gr.Info, say("gallery_deleted", name=name))
    except UserError as error:
        toast(gr.Warning, str(error))
    shown = show_chosen(page, state, search, {**seen, "name": None, "first": None})
    return {**shown, page.gallery.compare: ""}
