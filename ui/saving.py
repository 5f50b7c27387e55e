"""Save as: what the Gallery tab shows of a video that is written in another format."""

from collections.abc import Mapping
from dataclasses import dataclass

import gradio as gr

from ui.texts import say
from wanvideo.library.exporting import Exports
from wanvideo.library.formats import FORMATS


@dataclass(frozen=True, slots=True, kw_only=True)
class SavePart:
    """What events read or write, and the export that all visitors see."""

    exports: Exports
    format: gr.Dropdown
    save: gr.Button
    state: gr.HTML
    stop: gr.Button
    download: gr.DownloadButton


def format_names() -> Mapping[str, str]:
    """What the page calls each format."""
    return {"webm": say("save_webm"), "gif": say("save_gif"), "png": say("save_png")}


def build_choice() -> tuple[gr.Dropdown, gr.Button]:
    """The choice of a format and its button, in one row."""
    names = format_names()
    with gr.Row(elem_classes="actions save-as"):
        chosen = gr.Dropdown(
            [(names[name], name) for name in FORMATS],
            value=next(iter(FORMATS)),
            label=say("save_as"),
            show_label=False,
            container=False,
            min_width=190,
            elem_id="save-format",
        )
        save = gr.Button(say("save_as"), size="sm", scale=0, min_width=110, elem_id="save-as")
    return chosen, save


def build_saving(choice: tuple[gr.Dropdown, gr.Button]) -> SavePart:
    """How far it is and what came of it; it stays when another video is chosen."""
    state = gr.HTML(elem_id="saving")
    with gr.Row(elem_classes="actions"):
        stop = gr.Button(say("stop"), variant="stop", size="sm", visible=False, elem_id="save-stop")
        download = gr.DownloadButton(
            say("save_download"), size="sm", variant="primary", visible=False, elem_id="save-download"
        )
    return SavePart(
        exports=Exports(), format=choice[0], save=choice[1], state=state, stop=stop, download=download
    )
