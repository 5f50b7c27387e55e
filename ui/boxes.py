"""The card on which a box is drawn around each of two speakers, and what the model makes of the boxes."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, TypeAlias

import gradio as gr
from PIL import Image, ImageOps

from ui.cards import as_sentence, card
from ui.texts import say
from wanvideo.checks import doubtful_boxes
from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.geometry import speaker_halves, token_pixels, visible_part
from wanvideo.media.frames import read_frame_at
from wanvideo.media.probe import open_picture
from wanvideo.request import REQUEST_FIELDS

Box: TypeAlias = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels of the picture
Size: TypeAlias = tuple[int, int]  # (height, width)

SCRIPT = Path(__file__).with_name("boxes.js")
LONGEST_SIDE = 800  # of the picture that is sent
SPEAKERS = ("one", "two")
CLASSES = (*SPEAKERS, "both")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What a talking video shows: its size in pixels, the right way up, and a JPEG of it to draw on."""

    height: int
    width: int
    preview: bytes

    @property
    def size(self) -> Size:
        """(height, width)."""
        return self.height, self.width


def build_boxes() -> gr.HTML:
    """The card, empty; `boxes.js` draws what is in its property `state`."""
    return gr.HTML(boxes_html(None), js_on_load=SCRIPT.read_text("utf-8"), elem_id="boxes", state={})


def load_source(path: str, is_video: bool) -> Source:
    """A picture, or the first frame of a video. Raises UserError when it can't be read."""
    file = Path(path)
    changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _load(path, is_video, changed)


@lru_cache(maxsize=8)
def _load(path: str, is_video: bool, changed: int) -> Source:  # noqa: ARG001 - a file that changed is read anew
    if is_video:
        return _source(Image.fromarray(read_frame_at(path, 0)))
    with open_picture(path) as picture:
        return _source(ImageOps.exif_transpose(picture))


def _source(picture: Image.Image) -> Source:
    """Transparency is laid on white, and 16 bits are cut to 8, as the engine does it."""
    small = picture.point(lambda level: level * (1 / 256)).convert("L") if picture.mode[0] == "I" else picture
    small = small.convert("RGBA")
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    flat = Image.alpha_composite(Image.new("RGBA", small.size, "white"), small).convert("RGB")
    flat.save(buffer := BytesIO(), format="JPEG", quality=85)
    return Source(height=picture.height, width=picture.width, preview=buffer.getvalue())


def read_boxes(text: str) -> tuple[Box, ...] | None:
    """None or two boxes; None for a text that is neither, of which the forecast tells what is wrong."""
    try:
        boxes: tuple[Box, ...] = read_values(REQUEST_FIELDS, {"speaker_boxes": text})["speaker_boxes"]
    except UserError:
        return None
    return boxes if len(boxes) in (0, len(SPEAKERS)) else None


def seen_rows(boxes: Sequence[Box], source: Size, target: Size) -> list[str]:
    """A digit for each token of the video, row by row: 1 or 2 belongs to that speaker, 3 to both, 0 to none.

    `source` and `target` are (height, width) of picture and video.
    """
    rows, columns = token_pixels(source, target)
    corners = [tuple(map(int, box)) for box in boxes]

    def digit(y: int, x: int) -> int:
        inside = [x0 <= x < x1 and y0 <= y < y1 for x0, y0, x1, y1 in corners]
        return sum(1 << speaker for speaker, has in enumerate(inside) if has)

    return ["".join(str(digit(y, x)) for x in columns) for y in rows]


def boxes_state(text: str, source: Source, target: Size | None, voices: Sequence[str]) -> dict[str, Any]:
    """What `boxes.js` draws. `target` is the video's (height, width), None while nothing can be planned;
    `voices` are the names of the recordings. `boxes` is None for a text that can't be read.
    """
    boxes, halves = read_boxes(text), speaker_halves(*source.size)
    used = boxes or halves
    state: dict[str, Any] = {
        "text": text,
        "size": [source.width, source.height],
        "halves": halves,
        "boxes": None if boxes is None else used,
        "voices": list(voices),
        "notes": [] if boxes else [say("boxes_halves")] if boxes is not None else [],
    }
    if target is None or boxes is None:
        return state
    rows, columns = visible_part(source.size, target)
    grid = seen_rows(used, source.size, target)
    crop = [columns.start, rows.start, len(columns), len(rows)]
    doubts = map(as_sentence, doubtful_boxes(boxes, source.size, target))
    return {**state, "crop": crop, "grid": grid, "notes": [*state["notes"], *doubts]}


def boxes_html(source: Source | None, fault: str = "") -> str:
    """The picture with a box for each speaker and what can be done with them; without a picture a line that
    says so, or what is wrong with it.
    """
    title = say("boxes_title")
    if source is None:
        line = escape(as_sentence(fault)) if fault else say("boxes_no_picture")
        return card(title, f"<p class='hint'>{line}</p>", "boxes")
    chips = "".join(
        f"<button type='button' class='{name}' data-speaker='{index}'><i></i>"
        f"<b>{say('boxes_speaker', number=index + 1)}</b><small></small></button>"
        for index, name in enumerate(SPEAKERS)
    )
    words = (("clear", say("boxes_clear")), ("swap", say("boxes_swap")))
    buttons = "".join(f"<button type='button' data-do='{name}'>{word}</button>" for name, word in words)
    switch = f"<button type='button' data-do='see' role='switch'>{say('boxes_see')}</button>"
    return card(
        title,
        f"<div class='who' role='group' aria-label='{escape(title)}'>{chips}</div>{_drawing(source)}"
        f"<div class='does'>{buttons}{switch}</div><ul class='notes' aria-live='polite'></ul>"
        f"<p class='hint' id='boxes-hint'>{say('boxes_hint')}</p>",
        "boxes",
    )


def _drawing(source: Source) -> str:
    """An SVG whose unit is a pixel of the picture."""
    data = base64.b64encode(source.preview).decode()
    corners = "".join(f"<circle data-corner='{corner}' />" for corner in range(4))
    cells = "".join(f"<path class='{name}' />" for name in CLASSES)
    boxes = "".join(
        f"<g class='{name}' data-box='{index}' tabindex='0' role='group' aria-describedby='boxes-hint'>"
        f"<rect /><text></text>{corners}</g>"
        for index, name in enumerate(SPEAKERS)
    )
    size = f"width='{source.width}' height='{source.height}'"
    return (
        f"<svg viewBox='0 0 {source.width} {source.height}' role='group' "
        f"aria-label='{escape(say('boxes_area'))}'>"
        f"<image href='data:image/jpeg;base64,{data}' {size} preserveAspectRatio='none' />"
        f"<g class='cells'>{cells}</g>{boxes}</svg>"
    )
