"""The page as a whole: head, tabs, events. `build_page` is all that app.py needs."""

import sys
from argparse import Namespace
from collections.abc import Mapping
from typing import Any

import gradio as gr

from ui.api import connect_api
from ui.box_events import connect_boxes
from ui.events import connect, show_models
from ui.fields import Form, Widget
from ui.files import build_files, connect_files
from ui.form_events import connect_forms
from ui.gallery import build_gallery
from ui.gallery_events import connect_gallery
from ui.generation import build_generation
from ui.head import build_head, early_script
from ui.job_events import connect_jobs
from ui.model_settings import build_model_settings
from ui.parts import Page
from ui.preset_events import connect_presets
from ui.style import CSS, build_theme
from ui.system import build_system
from ui.system_events import connect_system
from ui.texts import say
from ui.translated import TranslatedBlocks
from ui.workflow import build_workflow
from ui.workflow_events import connect_workflow
from wanvideo.hardware import Hardware
from wanvideo.jobs.forms import FormStore
from wanvideo.jobs.store import JobStore


def build_page(store: JobStore, folders: dict[str, str], machine: Hardware) -> gr.Blocks:
    """The Blocks over `store`. `folders` holds output_dir and models_dir for every job."""

    def twin() -> gr.Blocks:
        return _fill(gr.Blocks(), store, folders, machine)

    blocks = TranslatedBlocks(twin, title=say("title"), analytics_enabled=False)
    return _fill(blocks, store, folders, machine)


def _fill(blocks: gr.Blocks, store: JobStore, folders: dict[str, str], machine: Hardware) -> gr.Blocks:
    with blocks:
        page = place_parts(store, folders, machine)
        connect_api(page)  # first, as two endpoints can't have one name
        connect(page)
        connect_boxes(page)
        connect_forms(page)
        connect_jobs(page)
        connect_presets(page)
        connect_workflow(page)
        connect_files(page.files, lambda: show_models(page), widgets_of_models(page))
        connect_gallery(page)
        connect_system(page)
    return blocks


def widgets_of_models(page: Page) -> list[Widget]:
    """Those that `show_models` updates."""
    return [page.form["model"], *page.form.widgets["loras"][::2], page.models.found]


def place_parts(store: JobStore, folders: dict[str, str], machine: Hardware) -> Page:
    """Head and tabs in the surrounding Blocks, not yet connected."""
    build_head(machine)
    with gr.Tabs(elem_id="tabs") as tabs:
        with gr.Tab(say("tab_generation"), id="generation"):
            generation = build_generation()
        with gr.Tab(say("tab_models"), id="models"):
            workflow = build_workflow()
            models = build_model_settings(machine)
        with gr.Tab(say("tab_files"), id="files"):
            files = build_files(folders)
        with gr.Tab(say("tab_gallery"), id="gallery") as tab:
            gallery = build_gallery(tab)
        with gr.Tab(say("tab_system"), id="system") as tab:
            system = build_system(tab, machine)
    form = Form(widgets={**generation.widgets, **models.widgets})
    return Page(
        store=store,
        forms=FormStore(store.path),
        folders=folders,
        machine=machine,
        form=form,
        generation=generation,
        models=models,
        workflow=workflow,
        files=files,
        tabs=tabs,
        gallery=gallery,
        system=system,
    )


def launch_page(page: gr.Blocks, flags: Namespace, safety: Mapping[str, Any]) -> str | None:
    """Open the server by the start flags and return, with the public link if there is one. `safety`: see
    `ui/serving.py`.
    """
    host = "0.0.0.0" if flags.listen else flags.host
    try:
        _, _, link = page.launch(
            server_name=host,
            server_port=flags.port,
            share=flags.share,
            inbrowser=flags.inbrowser,
            theme=build_theme(),
            css_paths=[CSS],
            head=early_script(flags.lang),
            footer_links=[],  # language and theme have their switches in the head
            ssr_mode=False,
            prevent_thread_lock=True,
            **safety,
        )
    except OSError as error:
        sys.stderr.write(f"The page can't be served on {host}:{flags.port}; choose another --port. {error}\n")
        raise SystemExit(2) from None
    return link or None
