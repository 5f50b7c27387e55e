"""Where this project keeps what it can make again: proofs, converted weights."""

import os
import platform
from pathlib import Path

VARIABLE = "WANVIDEO_CACHE"
REQUANTIZED = "requantized"


def cache_folder(kind: str) -> Path:
    """The folder for one kind of thing, below the user's cache folder. It need not exist yet.

    The environment variable WANVIDEO_CACHE names another place for all of them.
    """
    chosen = os.environ.get(VARIABLE)
    return (Path(chosen) if chosen else _users_folder() / "wanvideo") / kind


def _users_folder() -> Path:
    """The system's own place for caches: LOCALAPPDATA on Windows, else XDG_CACHE_HOME."""
    home, system = Path.home(), platform.system()
    if system == "Windows":
        return Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    if system == "Darwin":
        return home / "Library" / "Caches"
    return Path(os.environ.get("XDG_CACHE_HOME") or home / ".cache")
