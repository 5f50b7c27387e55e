"""Robots: a box head with an antenna, a face plate and lit eyes."""

from tools.pocket import shapes
from tools.pocket.canvas import Canvas
from tools.pocket.faces import OUTLINE, Cast, draw_cheeks, draw_eyes, draw_mouth
from tools.pocket.headwear import draw_headwear
from tools.pocket.palette import NAMED, WHITE, mixed
from tools.pocket.people import draw_body


def draw_robots(canvas: Canvas, cast: Cast) -> None:
    metals = [look.coat for look in cast.looks]
    draw_body(canvas, cast, metals, [mixed(metal, WHITE, 0.5) for metal in metals])
    bare = [row for row, look in enumerate(cast.looks) if look.headwear is None]
    if bare:
        with canvas.region(cast.face(-1.10, -0.3), (-0.3, -0.45, 0.3, 0.4), bare) as part:
            rod = shapes.box(part.x, part.y - 0.1, 0.055, 0.3, 0.05)
            part.outlined(rod, part.colour(metals), OUTLINE)
            ball = part.colour(NAMED[look.shirt] for look in cast.looks)
            part.shaded(shapes.circle(part.x, part.y + 0.2, 0.15), ball, 0.3, OUTLINE)
    with canvas.region(cast.face(0.05, -0.4), (-1.35, -0.4, 1.35, 0.4)) as part:
        bolt = shapes.box(part.x.abs() - 1.02, part.y, 0.17, 0.25, 0.1)
        part.outlined(bolt, part.colour(NAMED[look.shirt] for look in cast.looks), OUTLINE)
    with canvas.region(cast.head, (-1.15, -1.05, 1.15, 1.1)) as part:
        width = part.number(look.width for look in cast.looks)
        part.shaded(shapes.box(part.x, part.y, 0.98 * width, 0.94, 0.40), part.colour(metals), 0.07, OUTLINE)
    with canvas.region(cast.face(0.10, 0.85), (-0.9, -0.75, 0.9, 0.85)) as part:
        plate = part.colour(mixed(metal, (0.97, 0.98, 1.0), 0.72) for metal in metals)
        part.outlined(shapes.box(part.x, part.y, 0.76, 0.66, 0.30), plate, OUTLINE * 0.8)
    draw_cheeks(canvas, cast, 0.34, 0.4)
    draw_mouth(canvas, cast)
    draw_eyes(canvas, cast, -0.08, glow=True)
    draw_headwear(canvas, cast, -0.74)
