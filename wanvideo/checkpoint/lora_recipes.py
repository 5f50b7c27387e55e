"""Step-distilled models and LoRAs: how they are recognised, and the settings they were made for."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FEWEST_STEPS = 10  # below, a model that is not step-distilled gives a smear


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What a step-distilled file was made for; any of `samplers` will do."""

    title: str
    steps: int = 4
    guidance_scale: float = 1.0
    audio_guidance_scale: float = 1.0
    samplers: tuple[str, ...] = ("lcm", "euler")
    flow_shift: float = 5.0


_SIGNS = (  # in a name, or in what a file says of itself; FusionX was merged from others of them
    (r"fusion_?x", Recipe(title="FusionX", steps=8)),
    (r"causvid", Recipe(title="CausVid")),
    (r"(?<![a-z])rcm(?![a-z])", Recipe(title="rCM")),
    (r"lightx2v|(?:step|cfg)_?distill|self_?forcing", Recipe(title="lightx2v")),
)


_TITLES = ("modelspec.title", "ss_output_name", "name")  # of a file's metadata; the rest may quote prompts


def recipe_of(name: str, metadata: Mapping[str, str]) -> Recipe | None:
    """The recipe of a file of that name with that metadata; None for one that is not step-distilled."""
    return find_recipe([name, *(metadata[title] for title in _TITLES if title in metadata)])


def find_recipe(texts: Iterable[str]) -> Recipe | None:
    """The recipe that a file's name, or its metadata, tells of."""
    words = [re.sub(r"[\s.-]+", "_", text.lower()) for text in texts]
    return next((recipe for sign, recipe in _SIGNS if any(re.search(sign, text) for text in words)), None)
