"""What begins where a finished video ends: its last frame as a start picture, or the video itself to go on
from.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import gradio as gr

from ui.fields import START_TASK, TABLE, is_for
from ui.forecast import Updates
from ui.parts import Page
from ui.restore import picture_update, request_updates, toast
from ui.texts import say
from wanvideo.library.results import Result, save_last_frame
from wanvideo.library.settings import VideoSettings
from wanvideo.request import read_options

# Of the finished video alone: its sound, its length, and what the file itself says better.
OF_THE_OLD = frozenset(
    {"audio", "audio_start", "video", "end_image", "seconds", "num_frames", "width", "height", "fps"}
    | {"extends", "extends_from"}
)


def output_folder(page: Page) -> Path:
    """Where the results are."""
    return Path(read_options(page.folders).output_dir)


def from_last_frame(page: Page, task: str, result: Result) -> Updates:
    """The last frame as start picture, for `task` if it takes one; told by a toast. Raises UserError for a
    video that can't be read.
    """
    picture = save_last_frame(result, output_folder(page) / "uploads")
    toast(gr.Info, say("gallery_frame_set", name=result.path.name))
    return {**picture_update(page, task, picture), page.tabs: gr.Tabs(selected="generation")}


def from_its_end(page: Page, settings: VideoSettings, video: Path) -> Updates:
    """The form for a video that goes on from this one, with another seed, and a toast that says what to add.
    `settings` are those of the old one.
    """
    request = _new_part(settings.request, video)
    speaks = is_for("audio", request["task"])
    told = say("extend_speech", name=video.name) if speaks else say("extend_picture", name=video.name)
    updates = request_updates(page, replace(settings, request=request), keeps_seed=False)
    toast(gr.Info, told)
    tabs = {page.tabs: gr.Tabs(selected="generation")}
    return {**updates, **tabs, page.generation.source: gr.update(open=True)}


def _new_part(old: Mapping[str, Any], video: Path) -> dict[str, Any]:
    """Its request. A task that can't go on gives way to one that can, without the model that it had."""
    task = old.get("task", START_TASK)
    kept = {name: value for name, value in old.items() if name not in OF_THE_OLD}
    if not is_for("extends", task):
        task = next(name for name in TABLE["extends"].tasks if not is_for("audio", name))
        kept.pop("model", None)
    return {**kept, "task": task, "extends": str(video)}
