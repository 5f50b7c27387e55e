"""ComfyUI models folders that a person added: used where they lie, never copied.

Of an added folder only the subfolders with known names are read, so that an image model beside them is never
opened. The list is kept in the user's configuration folder.
"""

import json
import os
import platform
from collections.abc import Iterable
from pathlib import Path

from wanvideo.errors import UserError

VARIABLE = "WANVIDEO_CONFIG"
KINDS = (
    "diffusion_models",
    "unet",
    "vae",
    "text_encoders",
    "clip",
    "clip_vision",
    "wav2vec2",
    "audio_encoders",
    "loras",
)


def config_folder() -> Path:
    """Where the user's settings of this project are kept. It need not exist yet.

    The environment variable WANVIDEO_CONFIG names another place.
    """
    chosen = os.environ.get(VARIABLE)
    return Path(chosen) if chosen else _users_folder() / "wanvideo"


def added_folders() -> list[Path]:
    """What was added, in that order, also folders that are not there now. Raises UserError for a damaged
    list.
    """
    try:
        written = json.loads(_list_file().read_text(encoding="utf-8"))
        names = written["folders"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("not a list of folders")
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            "the list of added model folders is damaged",
            value=str(_list_file()),
            fix="Remove this file and add your folders again.",
        ) from error
    return [Path(name) for name in names]


def model_subfolders(folders: Iterable[Path]) -> list[Path]:
    """The folders with known names in those that can be read now, links resolved, each once."""
    places = (folder / kind for folder in folders for kind in KINDS)
    return list(dict.fromkeys(place.resolve() for place in places if place.is_dir()))


def add_folder(folder: Path) -> Path:
    """Remember a ComfyUI models folder, or the `models` in a ComfyUI folder; returns which. Raises
    UserError.
    """
    if not folder.expanduser().is_dir():
        raise UserError("this folder does not exist", value=str(folder))
    given = folder.expanduser().resolve()
    found = next((place for place in (given, given / "models") if model_subfolders([place])), None)
    if found is None:
        raise UserError(
            "this is no ComfyUI models folder: none of its folders has a known name",
            value=str(folder),
            allowed=KINDS,
        )
    folders = added_folders()
    if found not in folders:
        _write([*folders, found])
    return found


def remove_folder(folder: Path) -> Path:
    """Forget an added folder; nothing in it is touched. Raises UserError if it was not added."""
    folders, given = added_folders(), folder.expanduser().resolve()
    left = [known for known in folders if known not in (folder, given, given / "models")]
    if len(left) == len(folders):
        raise UserError("this folder was not added", value=str(folder), allowed=folders or "none was added")
    _write(left)
    return next(known for known in folders if known not in left)


def _write(folders: Iterable[Path]) -> None:
    file = _list_file()
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = file.with_suffix(".tmp")
    fresh.write_text(json.dumps({"folders": [str(folder) for folder in folders]}, indent=1), encoding="utf-8")
    fresh.replace(file)


def _list_file() -> Path:
    return config_folder() / "model_folders.json"


def _users_folder() -> Path:
    """The system's own place for settings: APPDATA on Windows, else XDG_CONFIG_HOME."""
    home, system = Path.home(), platform.system()
    if system == "Windows":
        return Path(os.environ.get("APPDATA") or home / "AppData" / "Roaming")
    if system == "Darwin":
        return home / "Library" / "Application Support"
    return Path(os.environ.get("XDG_CONFIG_HOME") or home / ".config")
