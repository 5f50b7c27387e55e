"""What a clip shows: characters, coloured shapes and backgrounds, chosen at random and described in words."""

from dataclasses import dataclass, replace
from random import Random

from tools.pocket.canvas import Colour
from tools.pocket.palette import BACKDROPS, FUR, HAIR, IRIS, METAL, NAMED, SKIN

PEOPLE = ("girl", "boy", "woman", "man")
ADULTS = ("woman", "man")
CHARACTERS = (*PEOPLE, "cat", "bear", "robot")
FIGURES = ("ball", "square", "triangle", "star", "heart")
HEADWEAR = ("cap", "woolly hat", "party hat", "bow")
HAIR_STYLES = {
    "girl": ("long", "bob", "pigtails", "bun", "curly"),
    "woman": ("long", "bob", "bun", "curly"),
    "boy": ("short", "spiky", "curly"),
    "man": ("short", "spiky", "bald"),
}
PLACES = ("plain", "gradient", "room", "hills", "bokeh", "stripes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One subject. For a figure only `subject` and `colour` matter."""

    subject: str
    colour: str
    """Name of the colour of the shirt (people), the fur, the metal or the figure."""
    skin: Colour
    hair: str
    hair_style: str
    shirt: str
    iris: Colour
    headwear: str | None
    headwear_colour: str
    glasses: bool
    beard: bool
    freckles: bool
    marked: bool
    """Cat: stripes; robot: bolts."""
    width: float
    eye_size: float
    eye_gap: float
    body: bool

    @property
    def coat(self) -> Colour:
        """The main colour of the head or the figure."""
        table = {"cat": FUR, "bear": FUR, "robot": METAL}.get(self.subject, NAMED)
        return (
            self.skin if self.subject in PEOPLE else table.get(self.colour, NAMED.get(self.colour, self.skin))
        )

    @property
    def grown(self) -> bool:
        """Whether it is drawn as an adult: a longer chin, smaller eyes, heavy brows or painted lips."""
        return self.subject in ADULTS


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One background. `colour` names its main colour."""

    place: str
    colour: str
    second: str
    seed: int

    @property
    def main(self) -> Colour:
        return BACKDROPS[self.colour]


def any_character(random: Random) -> Look:
    """People are half of the cast; animals and robots share the other half."""
    subject = random.choice(PEOPLE) if random.random() < 0.5 else random.choice(("cat", "bear", "robot"))
    return character(subject, random)


def character(subject: str, random: Random) -> Look:
    """A random character of the named kind."""
    shirt = random.choice(list(NAMED))
    coats = {"cat": list(FUR), "bear": ["brown", "white", "black", "grey"], "robot": list(METAL)}
    colour = random.choice(coats[subject]) if subject in coats else shirt
    headwear = random.choice(HEADWEAR) if random.random() < 0.35 else None
    if headwear == "bow" and subject in ("boy", "man"):
        headwear = "cap"
    grown = subject in ADULTS
    return Look(
        subject=subject,
        colour=colour,
        skin=random.choice(SKIN),
        hair=random.choice([name for name in HAIR if grown or name != "grey"]),
        hair_style=random.choice(HAIR_STYLES.get(subject, ("bald",))),
        shirt=shirt,
        iris=random.choice(IRIS),
        headwear=headwear,
        headwear_colour=random.choice(list(NAMED)),
        glasses=subject != "robot" and random.random() < 0.2,
        beard=subject == "man" and random.random() < 0.5,
        freckles=subject in ("girl", "boy") and random.random() < 0.3,
        marked=random.random() < 0.6,
        width=random.uniform(0.93, 1.05),
        eye_size=random.uniform(0.94, 1.1) * (0.76 if grown else 1.04),
        eye_gap=random.uniform(0.95, 1.06),
        body=True,
    )


def figure(subject: str, colour: str, random: Random) -> Look:
    """A coloured shape."""
    return replace(character("boy", random), subject=subject, colour=colour, headwear=None)


def named_head(subject: str, colour: str, random: Random) -> Look:
    """A head without a body whose coat, or shirt-coloured headwear for people, has the named colour."""
    look = replace(character(subject, random), colour=colour, body=False, glasses=False, headwear=None)
    if subject in PEOPLE:
        headwear = "bow" if subject in ("girl", "woman") else "cap"
        return replace(look, headwear=headwear, headwear_colour=colour)
    return look


def any_setting(random: Random) -> Setting:
    first, second = random.sample(list(BACKDROPS), 2)
    return Setting(place=random.choice(PLACES), colour=first, second=second, seed=random.randrange(1 << 30))


def any_subject(random: Random) -> Look:
    """A figure (two times of three) or a head, in one of the clear colours."""
    colour = random.choice(list(NAMED))
    if random.random() < 0.66:
        return figure(random.choice(FIGURES), colour, random)
    return named_head(random.choice(("cat", "bear", "robot", "girl", "boy")), colour, random)


def setting_for(look: Look, random: Random) -> Setting:
    """A plain background four times of five, never of the subject's colour."""
    shown = look.headwear_colour if look.subject in PEOPLE else look.colour
    setting = any_setting(random)
    while shown in (setting.colour, setting.second):
        setting = any_setting(random)
    return replace(setting, place="plain") if random.random() < 0.8 else setting
