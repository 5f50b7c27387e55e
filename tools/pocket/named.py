"""What a caption names, read back from the grammar of the captions, and whether a judged clip shows it."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tools.pocket.captions import _ACTING, _BALL, _MOVING, _TALKING
from tools.pocket.dataset import TALKS
from tools.pocket.judge import HEADS, Verdict
from tools.pocket.looks import HEADWEAR, PEOPLE

_PHRASES = {
    **dict.fromkeys(_TALKING, TALKS),
    **{phrase: act for act, phrases in _ACTING.items() for phrase in phrases},
    **{phrase: move for move, phrases in _MOVING.items() for phrase in phrases},
}
_GROWN = {"girl": "woman", "boy": "man"}
_SUBJECTS = {subject: subject for subject in HEADS["subject"]} | dict.fromkeys(_BALL, "ball")


def _any_of(words: Mapping[str, object] | tuple[str, ...]) -> str:
    """A pattern for one of the words, the longest that fits."""
    return "(" + "|".join(sorted(words, key=len, reverse=True)) + ")"


_MOTION = re.compile(rf"\b{_any_of(_PHRASES)}\b")
_SUBJECT = re.compile(rf"\b{_any_of(_SUBJECTS)}\b")
_COLOURS = {
    "coat": re.compile(
        rf"\b{_any_of(HEADS['coat'])} {_any_of(tuple(name for name in _SUBJECTS if name not in PEOPLE))}\b"
    ),
    "shirt": re.compile(rf"\b{_any_of(HEADS['shirt'])} shirt\b"),
    "headwear": re.compile(rf"\b{_any_of(HEADS['headwear_colour'])} {_any_of(HEADWEAR)}\b"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """What a caption promises about its subject."""

    subject: str
    colours: dict[str, str]
    """Colour by what has it: "coat" (of figures, animals and robots), "shirt", "headwear"."""
    motion: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """Which promises of a caption a clip keeps; None where the caption makes none."""

    subject: bool
    kin: bool
    """The subject, when a girl is as good as a woman and a boy as a man: they are often drawn alike."""
    colour: bool | None
    motion: bool | None


def named(caption: str) -> Named:
    """What `caption` says of who is seen and what happens; hair and background are not measured.

    Raises ValueError when it names no subject of the cartoon world.
    """
    text = caption.lower()
    motion = _MOTION.search(text)
    # The subject stands before what it does, the background behind it.
    who = text if motion is None else text[: motion.start()]
    subject = _SUBJECT.search(who)
    if subject is None:
        raise ValueError(f"caption {caption!r} names none of {HEADS['subject']}")
    found = {what: pattern.search(who) for what, pattern in _COLOURS.items()}
    return Named(
        subject=_SUBJECTS[subject[1]],
        colours={what: match[1] for what, match in found.items() if match is not None},
        motion=None if motion is None else _PHRASES[motion[1]],
    )


def agreement(promise: Named, verdict: Verdict) -> Agreement:
    """The colour is right when every named colour is; a colour of something that is not seen is wrong."""
    seen = {"coat": verdict.coat, "shirt": verdict.shirt, "headwear": verdict.headwear_colour}
    return Agreement(
        subject=promise.subject == verdict.subject,
        kin=_GROWN.get(promise.subject, promise.subject) == _GROWN.get(verdict.subject, verdict.subject),
        colour=all(seen[what] == colour for what, colour in promise.colours.items())
        if promise.colours
        else None,
        motion=None if promise.motion is None else promise.motion == verdict.motion,
    )


def shares(captions: Sequence[str], verdicts: Sequence[Verdict]) -> dict[str, float]:
    """The share of kept promises by "subject", "colour" and "motion", over the captions that make one.

    What no caption promises is left out. Raises ValueError for a caption without a subject.
    """
    rows = [agreement(named(text), said) for text, said in zip(captions, verdicts, strict=True)]
    kept = {
        "subject": [row.subject for row in rows],
        "colour": [row.colour for row in rows if row.colour is not None],
        "motion": [row.motion for row in rows if row.motion is not None],
    }
    return {what: round(sum(values) / len(values), 4) for what, values in kept.items() if values}
