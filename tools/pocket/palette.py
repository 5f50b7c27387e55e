"""The colours of the cartoon world by name, so that captions and drawings agree."""

from tools.pocket.canvas import Colour

# Clear colours of subjects and clothes; the names appear in captions.
NAMED: dict[str, Colour] = {
    "red": (0.90, 0.22, 0.24),
    "orange": (0.97, 0.56, 0.16),
    "yellow": (0.98, 0.83, 0.25),
    "green": (0.30, 0.70, 0.36),
    "blue": (0.23, 0.47, 0.87),
    "purple": (0.56, 0.35, 0.78),
    "pink": (0.97, 0.55, 0.72),
    "white": (0.97, 0.96, 0.94),
}

# The same names as backgrounds: softer, so that every subject stands out.
BACKDROPS: dict[str, Colour] = {
    "red": (0.95, 0.62, 0.58),
    "orange": (0.98, 0.78, 0.56),
    "yellow": (0.98, 0.92, 0.66),
    "green": (0.68, 0.86, 0.66),
    "blue": (0.64, 0.82, 0.95),
    "purple": (0.78, 0.70, 0.92),
    "pink": (0.98, 0.80, 0.85),
    "white": (0.95, 0.95, 0.96),
}

HAIR: dict[str, Colour] = {
    "black": (0.20, 0.17, 0.24),
    "brown": (0.45, 0.28, 0.17),
    "blond": (0.95, 0.79, 0.42),
    "red": (0.82, 0.38, 0.18),
    "grey": (0.70, 0.70, 0.74),
}

FUR: dict[str, Colour] = {
    "orange": (0.96, 0.65, 0.32),
    "grey": (0.66, 0.67, 0.73),
    "white": (0.95, 0.93, 0.90),
    "brown": (0.65, 0.44, 0.29),
    "black": (0.32, 0.30, 0.37),
}

METAL: dict[str, Colour] = {
    "grey": (0.72, 0.75, 0.80),
    "blue": (0.45, 0.64, 0.88),
    "green": (0.52, 0.79, 0.62),
    "red": (0.90, 0.45, 0.42),
    "yellow": (0.96, 0.81, 0.40),
}

SKIN: tuple[Colour, ...] = (
    (1.00, 0.87, 0.77),
    (0.98, 0.80, 0.66),
    (0.91, 0.69, 0.52),
    (0.78, 0.55, 0.39),
    (0.59, 0.40, 0.29),
)

IRIS: tuple[Colour, ...] = (
    (0.33, 0.24, 0.20),
    (0.25, 0.50, 0.72),
    (0.30, 0.56, 0.38),
    (0.52, 0.36, 0.20),
    (0.42, 0.36, 0.62),
)

# Inside an open mouth, and nowhere else: measurements find the mouth by it.
MOUTH: Colour = (0.46, 0.03, 0.13)
LIPSTICK: Colour = (0.86, 0.30, 0.40)
TONGUE: Colour = (0.88, 0.38, 0.43)
WHITE: Colour = (1.0, 1.0, 0.98)


def mixed(first: Colour, second: Colour, share: float) -> Colour:
    """`share` of the second colour."""
    return (
        first[0] + share * (second[0] - first[0]),
        first[1] + share * (second[1] - first[1]),
        first[2] + share * (second[2] - first[2]),
    )
