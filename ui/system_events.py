"""What the System tab does: look, check the machine, clear a cache, write a report."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import gradio as gr

from ui.cards import running_job
from ui.forecast import Updates
from ui.gallery import size_words
from ui.model_settings import machine_card
from ui.parts import Page
from ui.restore import toast
from ui.system import (
    COMMANDS,
    LOG_LINES,
    cache_name,
    caches_card,
    command_card,
    disk_card,
    fault_card,
    log_card,
    probes_card,
)
from ui.texts import say
from wanvideo.diagnostics.caches import clear_cache, disk_state, list_caches
from wanvideo.diagnostics.command import IDLE, RUNNING
from wanvideo.diagnostics.logs import log_tail
from wanvideo.diagnostics.report import Installation, write_report
from wanvideo.errors import UserError
from wanvideo.prepare import model_folders
from wanvideo.request import read_options

TICK_SECONDS = 1.0


def connect_system(page: Page) -> None:
    """Wire the tab's events; called inside the page's Blocks."""
    tab = page.system
    view = gr.State({"state": IDLE, "sent": None})
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    cards = [tab.machine, tab.disk, tab.caches, tab.probes, tab.log]
    gr.on([tab.tab.select, tab.refresh.click], partial(show_system, page), None, cards, **quiet)
    tab.selftest.click(partial(start_command, page, "selftest"), None, None, **quiet)
    tab.calibrate.click(partial(start_command, page, "calibrate"), None, None, **quiet)
    tab.stop.click(lambda: tab.command.stop(), None, None, **quiet)
    watched = [tab.output, tab.stop, tab.probes, view]
    gr.Timer(TICK_SECONDS).tick(partial(look_at_command, page, view), view, watched, **quiet)

    def clear(event: gr.EventData) -> Updates:
        clear_one(page, event.name)
        return show_system(page)

    tab.caches.click(clear, None, cards, **quiet)
    tab.report.click(partial(make_report, page), None, tab.download, **quiet)


def installation(page: Page) -> Installation:
    """What this page serves."""
    options = read_options(page.folders)
    return Installation(
        store=page.store,
        machine=page.machine,
        output_dir=options.output_dir,
        models_dir=str(model_folders(options)[0]),
    )


def show_system(page: Page) -> Updates:
    """All cards as things are now; one that can't be made says why in its place."""
    tab, here = page.system, installation(page)
    makers: Mapping[Any, tuple[str, Callable[[], str]]] = {
        tab.disk: (say("system_disk"), lambda: disk_card(disk_state(here.output_dir))),
        tab.log: (say("system_log"), lambda: log_card(log_tail(here.output_dir, LOG_LINES, here.places))),
    }
    updates: Updates = {
        tab.machine: machine_card(page.machine),
        tab.caches: caches_card(list_caches()),
        tab.probes: probes_card(page.machine),
    }
    for widget, (title, make) in makers.items():
        try:
            updates[widget] = make()
        except UserError as error:
            updates[widget] = fault_card(title, error)
    return updates


def start_command(page: Page, name: str) -> None:
    """Run a command, unless a video is being made: both would be slow, and the figures wrong."""
    if running_job(page.store.list()):
        toast(gr.Warning, say("system_busy"))
        return
    titles = {"selftest": say("system_selftest"), "calibrate": say("system_calibrate")}
    try:
        page.system.command.start(titles[name], COMMANDS[name])
    except UserError as error:
        toast(gr.Warning, str(error))


def look_at_command(page: Page, state: gr.State, seen: Mapping[str, Any]) -> Updates:
    """The command as it stands, only if it changed since this visitor's last look."""
    tab, now = page.system, page.system.command.now
    sent = (now.state, now.name, now.lines)
    if sent == seen["sent"] or (now.state == IDLE and seen["sent"] is None):
        return {state: seen}
    updates: Updates = {
        tab.output: command_card(now, installation(page).places),
        tab.stop: gr.update(visible=now.state == RUNNING),
        state: {"state": now.state, "sent": sent},
    }
    if now.state != seen["state"]:
        updates[tab.probes] = probes_card(page.machine)
    return updates


def clear_one(page: Page, kind: str) -> None:
    """Remove a cache, unless a video is being made that may read it."""
    if running_job(page.store.list()):
        toast(gr.Warning, say("system_busy"))
        return
    try:
        was = clear_cache(kind)
    except UserError as error:
        toast(gr.Warning, str(error))
        return
    toast(gr.Info, say("system_cleared", name=cache_name(kind), size=size_words(was.bytes)))


def make_report(page: Page) -> Updates:
    """The zip, ready to be downloaded."""
    download = page.system.download
    try:
        path = write_report(installation(page))
    except UserError as error:
        toast(gr.Warning, str(error))
        return {download: gr.skip()}
    return {download: gr.update(value=str(path), visible=True)}
