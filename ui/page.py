"""The page as a whole: head, tabs, events. `build_page` is all that app.py needs."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from html import escape
from pathlib import Path

import gradio as gr

from ui.events import connect, show_models
from ui.fields import Form, Widget
from ui.files import build_files, connect_files
from ui.generation import build_generation
from ui.model_settings import build_model_settings, machine_line
from ui.parts import Page
from ui.preset_events import connect_presets
from ui.style import CSS, build_theme
from ui.texts import say
from wanvideo.hardware import Hardware
from wanvideo.jobs.store import JobStore


def build_page(store: JobStore, folders: dict[str, str], machine: Hardware) -> gr.Blocks:
    """The Blocks over `store`. `folders` holds output_dir and models_dir for every job."""
    blocks = gr.Blocks(title=say("title"), analytics_enabled=False)
    with blocks:
        page = place_parts(store, folders, machine)
        connect(page)
        connect_presets(page)
        connect_files(page.files, lambda: show_models(page), widgets_of_models(page))
    return blocks


def widgets_of_models(page: Page) -> list[Widget]:
    """Those that `show_models` updates."""
    return [page.form["model"], *page.form.widgets["loras"][::2], page.models.found]


def place_parts(store: JobStore, folders: dict[str, str], machine: Hardware) -> Page:
    """Head and tabs in the surrounding Blocks, not yet connected."""
    gr.HTML(_head(machine), elem_id="head")
    with gr.Tabs(elem_id="tabs"):
        with gr.Tab(say("tab_generation")):
            generation = build_generation()
        with gr.Tab(say("tab_models")):
            models = build_model_settings(machine)
        with gr.Tab(say("tab_files")):
            files = build_files(folders)
    form = Form(widgets={**generation.widgets, **models.widgets})
    return Page(
        store=store,
        folders=folders,
        machine=machine,
        form=form,
        generation=generation,
        models=models,
        files=files,
    )


def launch_page(page: gr.Blocks, flags: Namespace, served: Sequence[Path]) -> None:
    """Open the server by the start flags and return; of the disk, only `served` can be read through it."""
    host = "0.0.0.0" if flags.listen else flags.host
    gr.set_static_paths(list(served))
    try:
        _launch(page, host, flags, served)
    except OSError as error:
        sys.stderr.write(f"The page can't be served on {host}:{flags.port}; choose another --port. {error}\n")
        raise SystemExit(2) from None


def _launch(page: gr.Blocks, host: str, flags: Namespace, served: Sequence[Path]) -> None:
    page.launch(
        server_name=host,
        server_port=flags.port,
        share=flags.share,
        inbrowser=flags.inbrowser,
        auth=tuple(flags.auth.split(":", 1)) if flags.auth else None,
        blocked_paths=[str(folder / "jobs") for folder in served],
        theme=build_theme(),
        css_paths=[CSS],
        footer_links=["settings"],
        ssr_mode=False,
        prevent_thread_lock=True,
    )


def _head(machine: Hardware) -> str:
    return (
        f"<header><div><h1>{say('title')}</h1><p>{say('tagline')}</p></div>"
        f"<span class='chip'>{escape(machine_line(machine))}</span></header>"
    )
