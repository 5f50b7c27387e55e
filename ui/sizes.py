"""Sizes to choose from: the quality tiers in the usual shapes and in the picture's own, with exact pixels.

No field of its own: a choice fills in width and height, and shows what stands there.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ui.fields import Form, Values, is_for
from ui.texts import say
from wanvideo.defaults import NATIVE_SIZES
from wanvideo.errors import UserError
from wanvideo.geometry import area_size, bucket_size
from wanvideo.media.probe import probe_picture

AUTOMATIC = ""
SHAPES: Mapping[str, float] = {"16:9": 9 / 16, "4:3": 3 / 4, "1:1": 1.0, "3:4": 4 / 3, "9:16": 16 / 9}


def build_sizes() -> gr.Dropdown:
    """Place the choice in the surrounding Blocks."""
    choices = [(say("size_automatic"), AUTOMATIC)]
    return gr.Dropdown(choices, value=AUTOMATIC, label=say("size"), info=say("size_help"), elem_id="size")


def size_update(form: Form, values: Values) -> dict[str, Any]:
    """The choices for the task and the picture; shown is the one that stands in width and height."""
    task, picture = values[form["task"]], values[form["image"]]
    ratio = _ratio_of(picture) if picture and is_for("image", task) else None
    choices = {AUTOMATIC: say("size_automatic")}
    for tier in NATIVE_SIZES:
        for shape, wanted in {say("size_picture"): ratio, **SHAPES}.items():
            if wanted is not None:
                height, width = size_in(tier, wanted, task)
                words = say("size_choice", tier=tier, shape=shape, width=width, height=height)
                choices.setdefault(f"{width}x{height}", words)
    given = [str(values[form[name]] or "").strip() for name in ("width", "height")]
    chosen = "x".join(given) if all(given) else AUTOMATIC
    choices.setdefault(chosen, " × ".join(given))
    update: dict[str, Any] = gr.update(choices=[(words, key) for key, words in choices.items()], value=chosen)
    return update


def size_in(tier: int, ratio: float, task: str) -> tuple[int, int]:
    """(height, width) of a tier at height / width = `ratio`; talk has buckets of its own."""
    if is_for("audio", task):
        return bucket_size(ratio, tier)
    height, width = NATIVE_SIZES[tier]
    known = {SHAPES["16:9"]: (height, width), SHAPES["9:16"]: (width, height)}
    return known.get(ratio) or area_size(ratio, height * width)


def fill_size(chosen: str) -> tuple[str, str]:
    """Width and height as they would be typed."""
    width, _, height = (chosen or "").partition("x")
    return width, height


def _ratio_of(picture: str) -> float | None:
    """Height / width of the picture; None for one that can't be read, which the forecast tells."""
    try:
        facts = probe_picture(Path(picture))
    except UserError:
        return None
    return facts.height / facts.width
