"""What a model was made for: its profile file, or the published defaults of its size."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wanvideo.errors import UserError
from wanvideo.fields import read_values
from wanvideo.request import REQUEST_FIELDS, TEXT_TO_VIDEO

PROFILE_NAME = "model.json"
TIERS = (480, 720)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProfile:
    """`area`: pixels of its native size, None for the published quality tiers. `tier` is the one of those it
    was made for, 480 or 720.
    """

    label: str
    area: int | None = None
    tier: int = TIERS[0]
    defaults: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


# Published sizes whose defaults differ from the task's: (dim, task) -> partial request
PUBLISHED_DEFAULTS: Mapping[tuple[int, str], Mapping[str, Any]] = {
    (1536, TEXT_TO_VIDEO): {"guidance_scale": 6.0, "flow_shift": 8.0},
}


def tier_of(name: str) -> int:
    """720 for a model with that number in its name: the 480P and 720P releases have the same tensors."""
    return TIERS[1] if re.search(r"(?<!\d)720(?!\d)", name) else TIERS[0]


def make_profile(task: str, name: str, dim: int, home: Path | None) -> ModelProfile:
    """The profile in the folder `home`; without one, what is published for a model of that name and width.

    Raises UserError for a damaged profile.
    """
    written = None if home is None else _read(home / PROFILE_NAME)
    if written is None:
        published = PUBLISHED_DEFAULTS.get((dim, task), {})
        return ModelProfile(label=name, tier=tier_of(name), defaults={task: published})
    parts, tier = written.get("defaults", {}), written.get("tier", tier_of(name))
    if tier not in TIERS:
        raise UserError(f"the tier in the {PROFILE_NAME} of {name} is unknown", value=tier, allowed=TIERS)
    return ModelProfile(
        label=written["label"],
        area=written.get("area"),
        tier=tier,
        defaults={part: read_values(REQUEST_FIELDS, values) for part, values in parts.items()},
    )


def private_home(path: Path) -> Path | None:
    """The nearest folder around `path` that has a profile: the files in it belong to each other alone."""
    return next((folder for folder in path.absolute().parents if _is_private(folder)), None)


def _is_private(folder: Path) -> bool:
    try:
        return _read(folder / PROFILE_NAME) is not None
    except UserError:
        return True  # damaged: told when its model is chosen


def _read(path: Path) -> dict[str, Any] | None:
    """None when there is no profile; a model.json of some other program is none."""
    if not path.is_file():
        return None
    try:
        written = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(
            f"{path.name} beside the model is damaged", fix=f"Repair or remove {path}."
        ) from error
    return written if isinstance(written, dict) and "label" in written else None
