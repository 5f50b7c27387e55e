"""A page in several languages: one set of events, and for each language the words of its components.

Gradio sends a page's components as a configuration. The page is built a second time in the other language,
never served, and lends its words to the configuration of the first.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from ui.language import ENGLISH, current_language, speaking
from ui.texts import say

NUMBERS = ("component_ids",)  # properties that point to other components


class TranslatedBlocks(gr.Blocks):
    """Blocks whose configuration is in the visitor's language. `twin` builds the same page once more."""

    def __init__(self, twin: Callable[[], gr.Blocks], **settings: Any) -> None:
        self._twin, self._lock = twin, threading.Lock()
        self._plain: dict[str, Any] = {}
        self._worded: dict[str, list[dict[str, Any]]] = {}
        super().__init__(**settings)

    @property
    def config(self) -> Any:
        """What gradio sends to whoever opens the page."""
        language = current_language()
        if language == ENGLISH or not self._plain.get("components"):
            return self._plain
        theirs = [*self._components_in(language)]
        mine = self._plain["components"]
        theirs += mine[len(theirs) :]  # what was added to the finished page
        components = [_with_words(own, other) for own, other in zip(mine, theirs, strict=True)]
        with speaking(language):
            return {**self._plain, "title": say("title"), "components": components}

    @config.setter
    def config(self, config: Any) -> None:
        self._plain = config

    def _components_in(self, language: str) -> list[dict[str, Any]]:
        with self._lock, speaking(language):
            if language not in self._worded:
                self._worded[language] = self._twin().get_config_file()["components"]
        return self._worded[language]


def _with_words(own: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """A component with the properties of its twin, of which only words differ."""
    kept = {name: own["props"][name] for name in NUMBERS if name in own["props"]}
    return {**own, "props": {**other["props"], **kept}}
