"""Every visible sentence of the page, by key and language: a file for each part of the page, with both
languages. What the engine says (plans, notes, errors) is English; `notes.py` knows it in Chinese.

A field's label and help come from its row, unless they stand here as label_ and help_.
"""

from collections.abc import Mapping

from ui.language import ENGLISH, current_language
from ui.texts import (
    doors,
    fields,
    files,
    gallery,
    generation,
    jobs,
    models,
    names,
    options,
    page,
    presets,
    system,
    workflow,
)

_PARTS = (
    *(page, generation, jobs, fields, options, models, names, presets, workflow),
    *(files, gallery, system, doors),
)
SENTENCES: Mapping[str, Mapping[str, str]] = {
    "en": {key: words for part in _PARTS for key, words in part.ENGLISH.items()},
    "zh": {key: words for part in _PARTS for key, words in part.CHINESE.items()},
}


def say(key: str, /, **values: object) -> str:
    """The sentence of that key in the visitor's language, with its values filled in."""
    known = SENTENCES[current_language()]
    return (known[key] if key in known else SENTENCES[ENGLISH][key]).format(**values)


def say_or(key: str, fallback: str) -> str:
    """The sentence of that key, or `fallback` where the page has no wording of its own."""
    return SENTENCES[current_language()].get(key, fallback)
