"""The workflow in a file: a json file, or the metadata that ComfyUI writes into a video or a picture."""

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.media.input_file import require_file
from wanvideo.media.probe import open_picture

ACCEPTED = "a json, png, webp, mp4, webm or mov file with a ComfyUI workflow"
LARGEST = 16 * 2**20  # bytes of JSON
DEEPEST = 60
# What ComfyUI names the two formats in metadata. The one it runs goes first: it has the widgets' names.
PARTS = ("prompt", "workflow")
_EXIF_TAGS = (0x0110, 0x010F)  # where it puts them in a webp: "prompt:{...}"


def read_document(path: str | Path) -> dict[str, Any]:
    """The workflow's JSON object, in one of the two formats. Raises UserError that names the file."""
    path = require_file(path, "workflow", ACCEPTED)
    suffix = path.suffix.lower()
    if suffix not in _READERS:
        raise _refusal(path, f"it is named {suffix or 'without a suffix'}")
    for text in _READERS[suffix](path):
        found = _workflow_in(path, text)
        if found is not None:
            return found
    raise _refusal(path, "there is no ComfyUI workflow in it")


def is_api(document: Mapping[str, Any]) -> bool:
    """Whether it is the format that ComfyUI runs: id -> {class_type, inputs}."""
    return bool(document) and all(
        isinstance(node, dict) and isinstance(node.get("class_type"), str) for node in document.values()
    )


def is_canvas(document: Mapping[str, Any]) -> bool:
    """Whether it is the format that ComfyUI shows: a list of nodes."""
    return isinstance(document.get("nodes"), list)


def _workflow_in(path: Path, text: str) -> dict[str, Any] | None:
    """The workflow that a text is, or holds under a known name, itself or as a text in the text."""
    for _ in range(3):
        found = _parse(path, text)
        if is_api(found) or is_canvas(found):
            return found
        held = next((found[name] for name in PARTS if found.get(name)), None)
        if isinstance(held, dict) and (is_api(held) or is_canvas(held)):
            return held
        if not isinstance(held, str):
            return None
        text = held
    return None


def _parse(path: Path, text: str) -> dict[str, Any]:
    if len(text) > LARGEST:
        raise _refusal(path, f"it holds more than {LARGEST >> 20} MB of JSON")
    try:
        found = json.loads(text)
    except RecursionError:
        raise _refusal(path, "its JSON is nested too deeply") from None
    except ValueError as error:
        raise _refusal(path, f"it is not JSON ({str(error)[:80]})") from error
    if not isinstance(found, dict):
        return {}
    if _depth(found) > DEEPEST:
        raise _refusal(path, "its JSON is nested too deeply")
    return found


def _depth(found: dict[str, Any]) -> int:
    """How many lists and objects stand in each other, counted without recursion, and up to DEEPEST."""
    depth, level = 0, list[Any]((found,))
    while level and depth <= DEEPEST:
        depth += 1
        parts = (part.values() if isinstance(part, dict) else part for part in level)
        level = [item for part in parts for item in part if isinstance(item, (dict, list))]
    return depth


def _from_json(path: Path) -> list[str]:
    if path.stat().st_size > LARGEST:
        raise _refusal(path, f"it is larger than {LARGEST >> 20} MB")
    try:
        return [path.read_text(encoding="utf-8-sig")]
    except UnicodeDecodeError as error:
        raise _refusal(path, "it is not text") from error


def _from_video(path: Path) -> list[str]:
    """A comment holds both formats, or each stands under its own name; containers change the case."""
    from wanvideo.media.video import read_metadata  # loads torch

    tags = {name.lower(): text for name, text in read_metadata(path).items()}
    return _objects(tags.get(name) for name in (*PARTS, "comment"))


def _from_picture(path: Path) -> list[str]:
    with open_picture(path) as picture:
        picture.load()  # text may stand behind the pixels
        texts = [picture.info.get(name) for name in PARTS]
        tags = picture.getexif()
    for tag in _EXIF_TAGS:
        name, _, rest = str(tags.get(tag, "")).partition(":")
        texts += [rest] if name in PARTS else []
    return _objects(texts)


def _objects(texts: Iterable[object]) -> list[str]:
    """Those that can be a JSON object; other programs write words under these names."""
    return [text for text in texts if isinstance(text, str) and text.lstrip().startswith("{")]


def _refusal(path: Path, found: str) -> UserError:
    return UserError(f"workflow {path.name!r} cannot be used: {found}", allowed=ACCEPTED)


_READERS: Mapping[str, Callable[[Path], list[str]]] = {
    ".json": _from_json,
    **dict.fromkeys((".png", ".webp"), _from_picture),
    **dict.fromkeys((".mp4", ".mov", ".webm", ".mkv"), _from_video),
}
SUFFIXES = tuple(_READERS)
