"""The settings that a finished video carries in its metadata. Whoever made the file may mean harm."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import Any

from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice, Row, read_values
from wanvideo.media.input_file import VIDEOS, open_container
from wanvideo.request import OPTION_FIELDS, REQUEST_FIELDS

COMMENT = "comment"
MOST_CHARACTERS = 1_000_000  # of the metadata; that of a long talk has some thousand
MOST_ROWS, MOST_NOTES, LONGEST_TEXT = 60, 40, 400
# What ran, under the name and in the values of the option that asks for it.
REPEATABLE = (
    "quantization",
    "attention",
    "blocks_to_swap",
    "fuse_qkv_projections",
    "rms_norm_function",
    "force_contiguous_tensors",
    "use_tf32",
    "use_cublas_gemm",
    "compile",
    "step_cache",
    "step_cache_threshold",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoSettings:
    """`request` and `options` are partial and checked, under canonical names. Files in the metadata are names
    without folders; those of a job of this queue are paths. `effective` and `notes` say what really ran.
    """

    request: Mapping[str, Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    effective: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_settings(path: Path, shown_as: str = "") -> VideoSettings:
    """The settings in a video's metadata. Raises UserError with one sentence for a file that is no video, has
    none, or holds something else there. `shown_as`: the file's name for people.
    """
    with open_container(path, "video", VIDEOS) as container:
        comment = comment_of(container.metadata)
    return parse_settings(comment, shown_as or path.name)


def comment_of(metadata: Mapping[str, str]) -> str:
    """The text that holds them; a webm has its tags in capitals. Empty without one."""
    return next((text for name, text in metadata.items() if name.lower() == COMMENT), "")


def parse_settings(comment: str, name: str) -> VideoSettings:
    """The same from the text of the comment; `name` is that of the file, for the error."""
    if not comment:
        raise UserError(f"the file {name} holds no settings", fix="Only videos made by this program do.")
    if len(comment) > MOST_CHARACTERS:
        raise _refused(name, f"they are longer than {MOST_CHARACTERS:,} characters")
    try:
        written = json.loads(comment)
    except (ValueError, RecursionError):
        raise _refused(name, "they are not of this program") from None
    if not isinstance(written, dict) or not isinstance(written.get("request"), dict):
        raise _refused(name, "they are not of this program")
    effective = written.get("effective")
    ran = effective if isinstance(effective, dict) else {}
    notes = written.get("notes")
    try:
        request = read_values(REQUEST_FIELDS, written["request"])
        options = read_values(OPTION_FIELDS, {key: ran[key] for key in REPEATABLE if key in ran})
    except (UserError, RecursionError) as error:
        raise _refused(name, str(error)) from None
    return VideoSettings(
        request={key: _bare(REQUEST_FIELDS[key], value) for key, value in request.items()},
        options=options,
        effective=shown_values_of(ran),
        notes=tuple(_short(note) for note in notes[:MOST_NOTES]) if isinstance(notes, list) else (),
    )


def shown_values_of(effective: Mapping[str, Any]) -> dict[str, str]:
    """Name -> words of what really ran, within bounds."""
    rows = list(effective.items())[:MOST_ROWS]
    return {_short(name).replace("_", " "): _words(value) for name, value in rows}


def base_name(path: str) -> str:
    """The name without folders, whichever system wrote the path."""
    return PureWindowsPath(path).name  # it splits at both kinds of slash


def _bare(row: Row, value: Any) -> Any:
    """No folder of another machine, or of this one, comes in by a file."""
    if row.kind == "path" or row.name == "model":
        return base_name(value) if value is not None else None
    if row.kind == "paths":
        return tuple(map(base_name, value))
    if row.kind == "loras":
        return tuple(LoraChoice(file=base_name(lora.file), strength=lora.strength) for lora in value)
    return value


def _words(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _short(", ".join(_words(item) for item in value[:MOST_ROWS]))
    return f"{value:g}" if isinstance(value, float) else _short(value)


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"


def _refused(name: str, why: str) -> UserError:
    return UserError(f"the settings in {name} can't be used: {_short(why).rstrip('.')}")
