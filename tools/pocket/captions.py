"""Captions from a small grammar: who is seen, what happens, and where, in several phrasings."""

from random import Random

import torch

from tools.pocket import looks
from tools.pocket.looks import FIGURES, PEOPLE, Look, Setting
from tools.pocket.poses import ACTS, MOVES

_TALKING = (
    "is talking",
    "talks",
    "speaks",
    "is speaking",
    "speaks to the camera",
    "is talking to us",
    "tells a story",
    "says hello",
)
_LISTENING = ("while", "and")
_TALKING_TOGETHER = ("are talking", "talk", "speak", "are speaking", "have a chat")
_TALKING_WITH = ("talks with", "is talking with", "speaks with", "has a chat with")
_TALKING_TO = ("talks to", "is talking to", "speaks to", "tells a story to")
_ACTING = {
    "nods": ("nods", "is nodding", "nods the head"),
    "shakes": ("shakes the head", "is shaking the head"),
    "looks left": ("looks left", "looks to the left", "turns left"),
    "looks right": ("looks right", "looks to the right", "turns right"),
    "blinks": ("blinks", "is blinking", "blinks with both eyes"),
    "smiles": ("smiles", "starts to smile", "gives a big smile"),
    "tilts": ("tilts the head", "leans the head to one side"),
    "zooms in": ("comes closer", "as the camera zooms in"),
    "moves left": ("moves left", "moves to the left"),
    "moves right": ("moves right", "moves to the right"),
}
_MOVING = {
    "moves left": ("moves left", "moves to the left", "slides left"),
    "moves right": ("moves right", "moves to the right", "slides right"),
    "moves up": ("moves up", "rises"),
    "moves down": ("moves down", "sinks"),
    "grows": ("grows", "becomes bigger"),
    "shrinks": ("shrinks", "becomes smaller"),
    "spins": ("spins", "turns around", "rotates"),
    "bounces": ("bounces", "jumps up and down"),
    "stays": ("stays still", "does not move"),
}
_BALL = ("ball", "circle")
_GROWN = ("man", "woman")
_TURNS = ("both", "left", "right")


def talk_caption(look: Look, setting: Setting, random: Random) -> str:
    return f"{_character(look, random)} {random.choice(_TALKING)}{_place(setting, random)}"


def act_caption(look: Look, setting: Setting, act: str, random: Random) -> str:
    """`act` is one of `poses.ACTS`."""
    return f"{_character(look, random)} {random.choice(_ACTING[act])}{_place(setting, random)}"


def move_caption(look: Look, setting: Setting, move: str, random: Random) -> str:
    """A figure or a named head; `move` is one of `poses.MOVES`."""
    return f"{_subject(look, random)} {random.choice(_MOVING[move])}{_place(setting, random)}"


def pair_caption(left: Look, right: Look, setting: Setting, turn: str, random: Random) -> str:
    """Two characters of whom both speak, or only the "left" or the "right" one: `turn` of `pairs.TURNS`."""
    first, second = (right, left) if turn == "right" else (left, right)
    detailed = random.choice((first, second)) if random.random() < 0.5 else None
    named, other = (_partner(look, look is detailed, random) for look in (first, second))
    if first.subject == second.subject and (first.subject in PEOPLE or first.colour == second.colour):
        other = "another " + other.split(" ", 1)[1]
    doing = _one_speaks if turn in ("left", "right") else _both_speak
    return doing(named, other, random) + _place(setting, random)


def sample_captions(count: int, generator: torch.Generator) -> list[str]:
    """Captions of all kinds in equal shares, to train a tokenizer on."""
    random = seeded(generator)
    return [_any_caption(random) for _ in range(count)]


def seeded(generator: torch.Generator) -> Random:
    """Choices that follow a torch generator of any device."""
    return Random(int(torch.randint(1 << 31, (1,), generator=generator, device=generator.device).item()))


def _any_caption(random: Random) -> str:
    look, setting = looks.any_character(random), looks.any_setting(random)
    kind = random.randrange(4)
    if kind == 0:
        return talk_caption(look, setting, random)
    if kind == 1:
        return act_caption(look, setting, random.choice(ACTS), random)
    if kind == 2:
        return pair_caption(look, looks.any_character(random), setting, random.choice(_TURNS), random)
    shown = looks.any_subject(random)
    return move_caption(shown, setting, random.choice(MOVES), random)


def _character(look: Look, random: Random) -> str:
    """A few true words about a character; never all of them."""
    style = random.choice(("", "cartoon ", "little ", "friendly cartoon "))
    if look.subject in PEOPLE:
        words = f"a {style}{look.subject}"
        if look.body and random.random() < 0.4:
            words += f" in {_article(look.shirt)} {look.shirt} shirt"
    else:
        words = f"{_article(style or look.colour)} {style}{look.colour} {look.subject}"
    details = _details(look, random)
    return f"{words} with {details}" if details else words


def _partner(look: Look, detailed: bool, random: Random) -> str:
    """One of two characters: few words, so that a caption has room for both."""
    style = random.choice(("", "", "cartoon ", "little ")) if look.subject not in _GROWN else ""
    if look.subject not in PEOPLE:
        words = f"{_article(style or look.colour)} {style}{look.colour} {look.subject}"
    else:
        words = f"a {style}{look.subject}"
    if not detailed:
        return words
    if look.headwear is not None:
        return f"{words} with {_article(look.headwear_colour)} {look.headwear_colour} {look.headwear}"
    if look.subject in PEOPLE:
        return f"{words} in {_article(look.shirt)} {look.shirt} shirt"
    return words


def _one_speaks(speaker: str, listener: str, random: Random) -> str:
    if random.random() < 0.5:
        return f"{speaker} {random.choice(_TALKING_TO)} {listener}"
    return f"{speaker} {random.choice(('talks', 'speaks'))} {random.choice(_LISTENING)} {listener} listens"


def _both_speak(left: str, right: str, random: Random) -> str:
    if random.random() < 0.5:
        return f"{left} and {right} {random.choice(_TALKING_TOGETHER)}"
    return f"{left} {random.choice(_TALKING_WITH)} {right}"


def _details(look: Look, random: Random) -> str:
    found = []
    if look.headwear is not None:
        found.append(f"{_article(look.headwear_colour)} {look.headwear_colour} {look.headwear}")
    if look.subject in PEOPLE and look.hair_style != "bald" and random.random() < 0.6:
        found.append(f"{look.hair} hair" if random.random() < 0.6 else f"{_hair(look)} {look.hair} hair")
    if look.glasses:
        found.append("glasses")
    if look.beard:
        found.append("a beard")
    return " and ".join(random.sample(found, min(len(found), random.choice((1, 2)))))


def _hair(look: Look) -> str:
    return {"bob": "short", "pigtails": "long", "bun": "long"}.get(look.hair_style, look.hair_style)


def _subject(look: Look, random: Random) -> str:
    if look.subject in PEOPLE:
        tint = look.headwear_colour
        return f"a {look.subject} with {_article(tint)} {tint} {look.headwear}"
    name = random.choice(_BALL) if look.subject == "ball" else look.subject
    if look.subject in FIGURES:
        return f"{_article(look.colour)} {look.colour} {name}"
    style = random.choice(("", "cartoon "))
    return f"{_article(style or look.colour)} {style}{look.colour} {name}"


def _place(setting: Setting, random: Random) -> str:
    """Where it happens, in words that match the background; left out now and then."""
    if random.random() < 0.12:
        return ""
    one, two = setting.colour, setting.second
    return " " + random.choice(
        {
            "plain": (f"on {_article(one)} {one} background", f"in front of {_article(one)} {one} wall"),
            "gradient": (f"on {_article(one)} {one} and {two} background",),
            "room": ("in a room", f"in a room with {_article(one)} {one} wall", "at home"),
            "hills": ("outdoors", "in front of green hills", "on a sunny day"),
            "bokeh": (f"before {one} and {two} lights", "with soft lights behind"),
            "stripes": (f"in front of {one} stripes", f"on {_article(one)} {one} striped background"),
        }[setting.place]
    )


def _article(word: str) -> str:
    return "an" if word[:1] in "aeiou" else "a"
