"""Girls, boys, women and men: body, head, hair and beard."""

from dataclasses import replace

import torch
from torch import Tensor

from tools.pocket import shapes
from tools.pocket.canvas import Canvas, Colour, Frame, Region
from tools.pocket.faces import (
    OUTLINE,
    Cast,
    draw_brows,
    draw_cheeks,
    draw_eyes,
    draw_glasses,
    draw_mouth,
    draw_nose,
)
from tools.pocket.headwear import draw_headwear
from tools.pocket.palette import HAIR, NAMED, mixed

_CHEEKS = 0.05
_CHIN = 0.17  # how much longer the lower half of an adult's face is


def draw_people(canvas: Canvas, cast: Cast) -> None:
    _back_hair(canvas, cast)
    _body(canvas, cast)
    _head(canvas, cast)
    draw_cheeks(canvas, cast, 0.33)
    draw_nose(canvas, cast)
    _beard(canvas, cast)
    draw_mouth(canvas, cast)
    draw_eyes(canvas, cast, 0.0)
    _front_hair(canvas, cast)
    draw_brows(canvas, cast, -0.36)
    draw_glasses(canvas, cast, 0.02)
    draw_headwear(canvas, cast, -0.62)


def draw_body(
    canvas: Canvas, cast: Cast, tints: list[Colour], trim: list[Colour], down: float = 1.38
) -> None:
    """Shoulders that follow the head a little less than it moves, with a round collar."""
    rows = [row for row, look in enumerate(cast.looks) if look.body]
    if not rows:
        return
    frame = _shoulders(cast).moved(-0.06 * cast.pose.turn, down)
    with canvas.region(frame, (-1.35, -0.8, 1.35, 2.6), rows) as part:
        torso = shapes.box(part.x, part.y - 1.25, 1.12, 1.75, 0.62)
        part.shaded(torso, part.colour(tints), 0.06, OUTLINE)
        collar = torch.maximum(shapes.ellipse(part.x, part.y + 0.52, 0.52, 0.26), torso)
        part.outlined(collar, part.colour(trim), OUTLINE * 0.8)


def _shoulders(cast: Cast) -> Frame:
    """The head's frame without most of its tilt: a head leans on shoulders that stay."""
    return replace(cast.head, angle=0.2 * cast.head.angle)


def _body(canvas: Canvas, cast: Cast) -> None:
    shirts = [NAMED[look.shirt] for look in cast.looks]
    draw_body(canvas, cast, shirts, [mixed(shirt, (1.0, 1.0, 1.0), 0.55) for shirt in shirts], 1.55)
    rows = [row for row, look in enumerate(cast.looks) if look.body]
    if rows:
        with canvas.region(_shoulders(cast).moved(0.0, 0.98), (-0.4, -0.3, 0.4, 0.4), rows) as part:
            tint = part.colour(mixed(look.skin, (0.62, 0.30, 0.28), 0.18) for look in cast.looks)
            part.outlined(shapes.box(part.x, part.y, 0.24, 0.25, 0.1), tint, OUTLINE)


def _face(part: Region, cast: Cast, margin: float = 0.0) -> Tensor:
    """The outline of the head; an adult's chin lies lower. `margin` makes it larger all round."""
    width = part.number(look.width for look in cast.looks)
    chin = part.number(1.0 + _CHIN * look.grown for look in cast.looks)
    y = torch.where(part.y > 0.0, part.y / chin, part.y)
    return shapes.egg(part.x, y, 0.94 * width + margin, 1.0 + margin, _CHEEKS)


def _head(canvas: Canvas, cast: Cast) -> None:
    with canvas.region(cast.face(0.16, -0.5), (-1.3, -0.35, 1.3, 0.35)) as part:
        tint = part.colour(look.skin for look in cast.looks)
        ear = shapes.ellipse(part.x.abs() - 0.96, part.y, 0.17, 0.21)
        part.outlined(ear, tint, OUTLINE)
        part.fill(ear + 0.08, part.colour(mixed(look.skin, (0.85, 0.35, 0.35), 0.35) for look in cast.looks))
    with canvas.region(cast.head, (-1.1, -1.1, 1.1, 1.3)) as part:
        part.shaded(_face(part, cast), part.colour(look.skin for look in cast.looks), 0.055, OUTLINE)


def _tints(part: Region, cast: Cast) -> Tensor:
    return part.colour(HAIR[look.hair] for look in cast.looks)


def _rows(cast: Cast, *styles: str) -> list[int]:
    return [row for row, look in enumerate(cast.looks) if look.hair_style in styles]


def _back_hair(canvas: Canvas, cast: Cast) -> None:
    """What is seen of the hair behind head and shoulders."""
    for style, bottom in (("long", 1.35), ("bob", 0.72)):
        rows = _rows(cast, style)
        if rows:
            with canvas.region(cast.face(0.0, -0.5), (-1.3, -1.3, 1.3, bottom + 0.1), rows) as part:
                middle, half = (bottom - 1.12) / 2.0, (bottom + 1.12) / 2.0
                mane = shapes.box(part.x, part.y - middle, 1.08 + 0.05 * (part.y - 0.2), half, 0.72 * half)
                part.shaded(mane, 0.9 * _tints(part, cast), 0.05, OUTLINE)
    rows = _rows(cast, "pigtails")
    if rows:
        with canvas.region(cast.face(0.28, -0.8), (-1.75, -0.75, 1.75, 0.85), rows) as part:
            tail = shapes.egg(part.x.abs() - 1.22, part.y, 0.34, 0.58, 0.2)
            part.shaded(tail, _tints(part, cast), 0.07, OUTLINE)
            tie = shapes.circle(part.x.abs() - 1.07, part.y + 0.5, 0.13)
            part.outlined(tie, part.colour(NAMED[look.shirt] for look in cast.looks), OUTLINE)
    rows = _rows(cast, "bun")
    if rows:
        with canvas.region(cast.face(-1.14, -0.8), (-0.5, -0.45, 0.5, 0.5), rows) as part:
            part.shaded(shapes.circle(part.x, part.y, 0.37), _tints(part, cast), 0.1, OUTLINE)
    rows = _rows(cast, "curly")
    if rows:
        with canvas.region(cast.face(-0.2, -0.4), (-1.5, -1.4, 1.5, 1.3), rows) as part:
            angle = torch.atan2(part.y, part.x)
            puff = shapes.ellipse(part.x, part.y, 1.22, 1.08) - 0.055 * torch.cos(11.0 * angle)
            part.shaded(puff, _tints(part, cast), 0.06, OUTLINE)


def _front_hair(canvas: Canvas, cast: Cast) -> None:
    """A cap of hair above a hairline; (base, lift, part) shape the hairline of each style."""
    lines = {
        "long": (-0.66, 0.62, 0.25),
        "bob": (-0.40, 0.04, 0.0),
        "pigtails": (-0.62, 0.55, 0.0),
        "bun": (-0.64, 0.5, 0.15),
        "curly": (-0.52, 0.22, 0.0),
        "short": (-0.56, 0.30, -0.35),
        "spiky": (-0.50, 0.18, 0.0),
    }
    rows = _rows(cast, *lines)
    if not rows:
        return
    with canvas.region(cast.face(0.0, 0.15), (-1.25, -1.45, 1.25, 0.35), rows) as part:
        hairline = [lines.get(look.hair_style, (-0.6, 0.0, 0.0)) for look in cast.looks]
        base, lift, middle = (part.number(line[i] for line in hairline) for i in range(3))
        wavy = part.number(float(look.hair_style in ("bob", "curly")) for look in cast.looks)
        spiky = part.number(float(look.hair_style == "spiky") for look in cast.looks)
        edge = base + lift * (part.x - middle) ** 2 + 0.03 * wavy * torch.cos(9.0 * part.x)
        edge = edge + spiky * 0.10 * torch.asin(torch.cos(11.0 * part.x)) / 1.57
        angle = torch.atan2(part.x, -part.y)
        spikes = (
            spiky
            * (0.10 + 0.11 * torch.asin(torch.cos(13.0 * angle)) / 1.57)
            * (-1.6 * part.y).clamp(0.0, 1.0)
        )
        width = part.number(look.width for look in cast.looks)
        crown = shapes.egg(part.x, part.y, 0.94 * width + 0.06, 1.07, _CHEEKS) - spikes
        cap = shapes.smooth_maximum(crown, (part.y - edge) * 0.9, 0.05)
        part.shaded(cap, _tints(part, cast), 0.07, OUTLINE)
        shine = shapes.curve(part.x + 0.36, part.y + 0.80, 0.22, 0.07, 0.035)
        part.fill(torch.maximum(shine, cap + 0.05), (1.0, 1.0, 1.0), 0.32)


def _beard(canvas: Canvas, cast: Cast) -> None:
    rows = [row for row, look in enumerate(cast.looks) if look.beard]
    if not rows:
        return
    with canvas.region(cast.head, (-1.1, -0.4, 1.1, 1.35), rows) as part:
        chin = _face(part, cast, 0.04)
        shift_x, shift_y = (0.24 * part.track(track) for track in (cast.pose.turn, cast.pose.nod))
        bare = shapes.ellipse(part.x - shift_x, part.y - shift_y - 0.02, 0.80, 0.47)
        beard = shapes.smooth_maximum(torch.maximum(chin, -0.22 - part.y), -bare, 0.08)
        part.shaded(beard, _tints(part, cast), 0.05, OUTLINE * 0.8)
