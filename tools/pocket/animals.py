"""Cats and bears."""

import torch

from tools.pocket import shapes
from tools.pocket.canvas import LINE, Canvas
from tools.pocket.faces import OUTLINE, Cast, draw_brows, draw_cheeks, draw_eyes, draw_glasses, draw_mouth
from tools.pocket.headwear import draw_headwear
from tools.pocket.palette import NAMED, WHITE, mixed
from tools.pocket.people import draw_body

_PINK = (0.96, 0.62, 0.66)


def draw_cats(canvas: Canvas, cast: Cast) -> None:
    coats = [look.coat for look in cast.looks]
    draw_body(canvas, cast, coats, [NAMED[look.shirt] for look in cast.looks])
    with canvas.region(cast.face(-0.78, -0.25), (-1.25, -0.75, 1.25, 0.7)) as part:
        x = part.x.abs() - 0.60
        lean_x, lean_y = 0.96 * x + 0.28 * part.y, 0.96 * part.y - 0.28 * x
        ear = shapes.triangle(lean_x, lean_y, 0.46, 0.58, 0.2)
        part.shaded(ear, part.colour(coats), 0.05, OUTLINE)
        part.fill(shapes.triangle(lean_x, lean_y - 0.06, 0.28, 0.40, 0.14), _PINK)
    with canvas.region(cast.head, (-1.2, -1.0, 1.2, 1.1)) as part:
        width = part.number(look.width for look in cast.looks)
        head = shapes.egg(part.x, part.y - 0.06, 1.06 * width, 0.92, 0.09)
        part.shaded(head, part.colour(coats), 0.05, OUTLINE)
        stripes = part.number(float(look.marked) for look in cast.looks)
        darker = part.colour(mixed(coat, LINE, 0.38) for coat in coats)
        turn = 0.12 * part.track(cast.pose.turn)
        for middle, half in ((0.0, 0.17), (0.27, 0.12)):
            x = (part.x - turn).abs() - middle
            mark = shapes.ellipse(x, part.y + 0.74, 0.06, half)
            part.fill(torch.maximum(mark, head + 0.01), darker, stripes)
    _muzzle(canvas, cast, 0.36, (0.50, 0.34))
    draw_cheeks(canvas, cast, 0.34, 0.5)
    draw_mouth(canvas, cast)
    with canvas.region(cast.face(0.22, 1.35), (-1.35, -0.25, 1.35, 0.5)) as part:
        nose = shapes.triangle(part.x, -part.y, 0.13, 0.085, 0.05)
        part.outlined(nose, (0.95, 0.50, 0.55), OUTLINE * 0.7)
        for end in (0.02, 0.24):
            whisker = shapes.segment(part.x.abs(), part.y, (0.66, 0.10 + 0.4 * end), (1.20, end), 0.018)
            part.fill(whisker, LINE, 0.75)
    draw_eyes(canvas, cast, -0.06)
    draw_glasses(canvas, cast, -0.04)
    draw_headwear(canvas, cast, -0.60)


def draw_bears(canvas: Canvas, cast: Cast) -> None:
    coats = [look.coat for look in cast.looks]
    draw_body(canvas, cast, coats, [NAMED[look.shirt] for look in cast.looks])
    with canvas.region(cast.face(-0.70, -0.35), (-1.25, -0.5, 1.25, 0.5)) as part:
        ear = shapes.circle(part.x.abs() - 0.74, part.y, 0.36)
        part.shaded(ear, part.colour(coats), 0.06, OUTLINE)
        part.fill(ear + 0.15, part.colour(mixed(coat, _PINK, 0.6) for coat in coats))
    with canvas.region(cast.head, (-1.2, -1.1, 1.2, 1.15)) as part:
        width = part.number(look.width for look in cast.looks)
        part.shaded(shapes.egg(part.x, part.y, 1.02 * width, 0.98, 0.08), part.colour(coats), 0.05, OUTLINE)
    _muzzle(canvas, cast, 0.40, (0.54, 0.43))
    draw_cheeks(canvas, cast, 0.28, 0.45)
    draw_mouth(canvas, cast)
    with canvas.region(cast.face(0.17, 1.5), (-0.35, -0.25, 0.35, 0.25)) as part:
        part.fill(shapes.egg(part.x, part.y, 0.19, 0.13, -0.15), (0.28, 0.18, 0.20))
        part.fill(shapes.ellipse(part.x + 0.05, part.y + 0.05, 0.055, 0.03), WHITE, 0.8)
    draw_eyes(canvas, cast, -0.14)
    draw_brows(canvas, cast, -0.48)
    draw_glasses(canvas, cast, -0.12)
    draw_headwear(canvas, cast, -0.64)


def _muzzle(canvas: Canvas, cast: Cast, down: float, size: tuple[float, float]) -> None:
    with canvas.region(cast.face(down, 1.1), (-0.7, -0.5, 0.7, 0.55)) as part:
        tint = part.colour(mixed(look.coat, (1.0, 0.97, 0.92), 0.72) for look in cast.looks)
        part.fill(shapes.ellipse(part.x, part.y, size[0], size[1]), tint)
