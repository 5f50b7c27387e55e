"""Coloured shapes: ball, square, triangle, star and heart."""

from tools.pocket import shapes
from tools.pocket.canvas import LINE, Canvas
from tools.pocket.faces import Cast

_LINE_WIDTH = 0.07


def draw_figures(canvas: Canvas, cast: Cast) -> None:
    """All clips of the cast show the same kind of figure."""
    subject = cast.looks[0].subject
    with canvas.region(cast.head, (-1.2, -1.2, 1.2, 1.2)) as part:
        distance = {
            "ball": lambda x, y: shapes.circle(x, y, 0.92),
            "square": lambda x, y: shapes.box(x, y, 0.82, 0.82, 0.14),
            "triangle": lambda x, y: shapes.triangle(x, y, 0.98, 0.88, 0.12),
            "star": lambda x, y: shapes.star(x, y, 1.05),
            "heart": lambda x, y: shapes.heart(x, y, 0.98),
        }[subject](part.x, part.y)
        part.fill(distance - _LINE_WIDTH, LINE)
        part.shaded(distance, part.colour(look.coat for look in cast.looks), 0.07)
        shine = shapes.ellipse(part.x + 0.30, part.y + 0.30, 0.15, 0.11)
        part.fill(shine, (1.0, 1.0, 1.0), 0.65)
