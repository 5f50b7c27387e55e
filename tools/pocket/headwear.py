"""Caps, woolly hats, party hats and bows, for every head."""

import torch

from tools.pocket import shapes
from tools.pocket.canvas import Canvas
from tools.pocket.faces import OUTLINE, Cast
from tools.pocket.palette import NAMED, mixed


def draw_headwear(canvas: Canvas, cast: Cast, brow: float) -> None:
    """`brow` is where the rim sits, in head units."""
    for name, draw in (("cap", _cap), ("woolly hat", _woolly_hat), ("party hat", _party_hat), ("bow", _bow)):
        rows = [row for row, look in enumerate(cast.looks) if look.headwear == name]
        if rows:
            draw(canvas, cast, rows, brow)


def _cap(canvas: Canvas, cast: Cast, rows: list[int], brow: float) -> None:
    with canvas.region(cast.face(brow, 0.3), (-1.2, -0.75, 1.5, 0.35), rows) as part:
        tint = part.colour(NAMED[look.headwear_colour] for look in cast.looks)
        dome = torch.maximum(shapes.ellipse(part.x, part.y - 0.1, 0.96, 0.70), part.y - 0.06)
        part.shaded(dome, tint, 0.09, OUTLINE)
        part.outlined(shapes.circle(part.x, part.y + 0.60, 0.07), tint, OUTLINE)
        brim = shapes.box(part.x - 0.42, part.y - 0.08 - 0.06 * (part.x - 0.4) ** 2, 0.82, 0.105, 0.1)
        part.outlined(brim, 0.82 * tint, OUTLINE)


def _woolly_hat(canvas: Canvas, cast: Cast, rows: list[int], brow: float) -> None:
    with canvas.region(cast.face(brow, 0.2), (-1.2, -1.05, 1.2, 0.35), rows) as part:
        colours = [NAMED[look.headwear_colour] for look in cast.looks]
        light = part.colour(mixed(colour, (1.0, 1.0, 1.0), 0.55) for colour in colours)
        part.outlined(shapes.circle(part.x, part.y + 0.72, 0.19), light, OUTLINE)
        dome = torch.maximum(shapes.ellipse(part.x, part.y - 0.1, 0.98, 0.74), part.y - 0.06)
        part.shaded(dome, part.colour(colours), 0.09, OUTLINE)
        stripe = torch.maximum((part.y + 0.32).abs() - 0.075, dome + 0.005)
        part.fill(stripe, light)
        part.outlined(shapes.box(part.x, part.y - 0.06 + 0.05 * part.x**2, 1.02, 0.145, 0.14), light, OUTLINE)


def _party_hat(canvas: Canvas, cast: Cast, rows: list[int], brow: float) -> None:
    with canvas.region(cast.face(brow - 0.55, -0.2), (-0.6, -0.75, 0.6, 0.6), rows) as part:
        colours = [NAMED[look.headwear_colour] for look in cast.looks]
        light = part.colour(mixed(colour, (1.0, 1.0, 1.0), 0.65) for colour in colours)
        cone = shapes.triangle(part.x, part.y, 0.46, 0.50, 0.06)
        part.shaded(cone, part.colour(colours), 0.08, OUTLINE)
        for height in (0.22, -0.12):
            part.fill(torch.maximum((part.y - height + 0.25 * part.x).abs() - 0.055, cone + 0.005), light)
        part.outlined(shapes.circle(part.x, part.y + 0.52, 0.12), light, OUTLINE)


def _bow(canvas: Canvas, cast: Cast, rows: list[int], brow: float) -> None:
    with canvas.region(cast.face(brow - 0.22, 0.2), (-0.1, -0.4, 1.1, 0.4), rows) as part:
        tint = part.colour(NAMED[look.headwear_colour] for look in cast.looks)
        x, y = part.x - 0.46, part.y
        tilt_x, tilt_y = 0.94 * x + 0.34 * y, 0.94 * y - 0.34 * x
        loop = shapes.egg(tilt_y, tilt_x.abs() - 0.24, 0.18, 0.22, 0.25)
        part.shaded(loop, tint, 0.06, OUTLINE)
        part.outlined(shapes.circle(tilt_x, tilt_y, 0.11), 0.85 * tint, OUTLINE)
