"""Paths made short: what is shown or sent names no folder of a person's machine."""

import re
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from wanvideo.cache_folder import cache_folder
from wanvideo.library.settings import base_name

PROJECT = Path(__file__).parents[2]
# An absolute path, of either system, of which nothing is known; the last name of it is kept. What stands
# before must not make it the middle of an address, of a relative path or of one that is short already.
_ABSOLUTE = re.compile(r"(?<![\w.>~/\\])(?:[A-Za-z]:)?(?:[\\/][^\s\\/:*?\"'<>|,;()]+){2,}[\\/]?")


def known_places(output_dir: str | Path, models_dir: str | Path) -> dict[str, str]:
    """Folder -> what it is called instead."""
    places = {
        output_dir: "<output>",
        models_dir: "<models>",
        PROJECT: "<app>",
        sys.prefix: "<python>",
        cache_folder(""): "<cache>",
        tempfile.gettempdir(): "<temp>",
        Path.home(): "~",
    }
    return {str(Path(folder).absolute()): word for folder, word in places.items()}


def without_places(text: str, places: Mapping[str, str]) -> str:
    """`text` with known folders by their word and every other absolute path by its last name."""
    for folder, word in sorted(places.items(), key=lambda place: -len(place[0])):
        if len(folder) > 1:  # a home that is the root would be in every path
            text = text.replace(folder, word).replace(folder.replace("\\", "\\\\"), word)
    return _ABSOLUTE.sub(lambda found: f"…/{base_name(found.group())}", text)
