"""The parts that every face shares: eyes, brows, cheeks, mouth, glasses. Unit: half a head's height."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tools.pocket import shapes
from tools.pocket.canvas import LINE, Canvas, Frame, Region
from tools.pocket.looks import PEOPLE, Look
from tools.pocket.palette import HAIR, LIPSTICK, MOUTH, TONGUE, WHITE, mixed
from tools.pocket.poses import Pose

OUTLINE = 0.042
# How far a part in front of the head's axis moves when the head turns or nods by one.
_DEPTH = 0.24
_LIP = 0.034
_PAINT = 0.04  # of painted lips around their line
_MOUTH_DOWN = 0.50
_MOUTH_PLACES = {"cat": 0.44, "bear": 0.47, "robot": 0.40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """The characters of a batch that are drawn alike, with their poses and head frames."""

    looks: Sequence[Look]
    pose: Pose
    head: Frame

    def face(self, down: float, depth: float = 1.0) -> Frame:
        """A frame on the front of the head; depth 1 for eyes, more for a nose, below 0 for the back."""
        reach = _DEPTH * depth
        return self.head.moved(reach * self.pose.turn, down + reach * self.pose.nod)


def draw_eyes(canvas: Canvas, cast: Cast, down: float, glow: bool = False) -> None:
    """Whites, irises that follow the gaze, pupils and two highlights; a closed eye becomes a line."""
    with canvas.region(cast.face(down), (-0.72, -0.36, 0.72, 0.36)) as part:
        size = part.number(look.eye_size for look in cast.looks)
        gap = 0.385 * part.number(look.eye_gap for look in cast.looks)
        left = part.x < 0.0
        lid = torch.where(left, part.track(cast.pose.lid_left), part.track(cast.pose.lid_right))
        x = part.x.abs() - gap
        along = torch.where(left, -x, x) - 0.07 * part.track(cast.pose.gaze)
        tall = 0.215 * size
        # A closing lid comes down to the lower third of the eye.
        y = part.y - 0.06 * (1.0 - lid)
        white = shapes.ellipse(x, y, 0.165 * size, tall * lid.clamp_min(0.09))
        part.fill(white - OUTLINE * 0.9, LINE)
        # A closed eye is a line alone.
        part.fill(white, WHITE if not glow else (0.16, 0.22, 0.32), (4.0 * lid - 0.6).clamp(0.0, 1.0))
        iris = torch.maximum(shapes.circle(along, part.y - 0.015, 0.132 * size), white)
        tint = part.colour(look.iris if not glow else (0.35, 0.90, 0.95) for look in cast.looks)
        part.fill(iris, tint, lid)
        if not glow:
            part.fill(torch.maximum(shapes.circle(along, part.y - 0.015, 0.088 * size), white), LINE, lid)
        # The side of the light is the same in both eyes.
        light = torch.where(left, -x, x) - 0.05 * part.track(cast.pose.gaze)
        part.fill(torch.maximum(shapes.circle(light + 0.052, part.y + 0.065, 0.05 * size), white), WHITE, lid)
        part.fill(torch.maximum(shapes.circle(light - 0.05, part.y - 0.06, 0.026 * size), white), WHITE, lid)
        _lashes(part, cast, x, y, size)


def _lashes(part: Region, cast: Cast, x: Tensor, y: Tensor, size: Tensor) -> None:
    wears = part.number(float(look.subject in ("girl", "woman")) for look in cast.looks)
    if any(look.subject in ("girl", "woman") for look in cast.looks):
        lash = torch.minimum(
            shapes.segment(x, y, (0.12, -0.10), (0.23, -0.17), 0.022 * size),
            shapes.segment(x, y, (0.07, -0.16), (0.14, -0.26), 0.022 * size),
        )
        part.fill(lash, LINE, wears)


def draw_brows(canvas: Canvas, cast: Cast, down: float) -> None:
    with canvas.region(cast.face(down), (-0.72, -0.26, 0.72, 0.2)) as part:
        gap = 0.385 * part.number(look.eye_gap for look in cast.looks)
        lift = 0.07 * part.track(cast.pose.brow)
        tints = [
            mixed(HAIR[look.hair] if look.subject in PEOPLE else look.coat, LINE, 0.45) for look in cast.looks
        ]
        x = part.x.abs() - gap
        # Outer ends hang a little: a friendly look.
        heavy = part.number(0.058 if look.subject == "man" else 0.034 for look in cast.looks)
        part.fill(shapes.curve(x, part.y + lift - 0.16 * x, 0.15, 0.06, heavy), part.colour(tints))


def draw_cheeks(canvas: Canvas, cast: Cast, down: float, opacity: float = 0.55) -> None:
    with canvas.region(cast.face(down, 0.9), (-0.85, -0.22, 0.85, 0.22)) as part:
        spot = shapes.ellipse(part.x.abs() - 0.56, part.y, 0.2, 0.13)
        part.glow(spot, (0.97, 0.48, 0.48), 0.13, opacity)


def mouth_down(subject: str) -> float:
    """Where the mouth sits below the middle of the head."""
    return _MOUTH_PLACES.get(subject, _MOUTH_DOWN)


def draw_mouth(canvas: Canvas, cast: Cast) -> None:
    """A bent ellipse whose height is the opening; at rest only its outline is left, a smile."""
    with canvas.region(cast.face(mouth_down(cast.looks[0].subject)), (-0.50, -0.28, 0.50, 0.60)) as part:
        opening, spread = part.track(cast.pose.opening), part.track(cast.pose.spread)
        smile = part.track(cast.pose.smile)
        talk = (opening * 5.0).clamp_max(1.0)
        half = torch.lerp(0.16 + 0.13 * smile, 0.19 + 0.17 * spread, talk)
        tall = 0.015 + 0.235 * opening
        bend = (0.02 + 0.12 * smile) * (1.0 - 0.45 * opening)
        down = part.y - 0.5 * bend - 0.55 * tall
        y = down + bend * (part.x / half).square().clamp_max(1.3)
        inside = shapes.ellipse(part.x, y, half, tall)
        lips = shapes.ellipse(part.x, y, half + _LIP, tall + _LIP)
        lips = torch.minimum(lips, shapes.curve(part.x, down, half, -bend, _LIP))
        if any(look.subject == "woman" for look in cast.looks):
            painted = part.number(float(look.subject == "woman") for look in cast.looks)
            part.fill(lips - _PAINT, LIPSTICK, painted)
        part.fill(lips, LINE)
        part.fill(inside, MOUTH, talk)
        tongue = torch.maximum(
            shapes.ellipse(part.x, y - 0.95 * tall, 0.62 * half, 0.55 * tall), inside + 0.01
        )
        part.fill(tongue, TONGUE, talk)
        teeth = shapes.box(part.x, y + tall, 0.66 * half, 0.34 * tall, 0.02)
        part.fill(torch.maximum(teeth, inside + 0.008), WHITE, ((opening - 0.25) * 4.0).clamp(0.0, 1.0))


def draw_glasses(canvas: Canvas, cast: Cast, down: float) -> None:
    rows = [row for row, look in enumerate(cast.looks) if look.glasses]
    if not rows:
        return
    with canvas.region(cast.face(down, 1.1), (-1.1, -0.4, 1.1, 0.4), rows) as part:
        lens = shapes.circle(part.x.abs() - 0.40, part.y, 0.30)
        bridge = shapes.curve(part.x, part.y + 0.05, 0.11, 0.03, 0.03)
        arm = shapes.segment(part.x.abs(), part.y, (0.70, -0.03), (0.98, -0.08), 0.03)
        part.fill(lens, WHITE, 0.18)
        rim = torch.minimum(lens.abs() - 0.032, torch.minimum(bridge, arm))
        part.fill(rim, part.colour(mixed(look.iris, LINE, 0.55) for look in cast.looks))


def draw_nose(canvas: Canvas, cast: Cast) -> None:
    """A small round nose in a warmer tone of the skin, and freckles beside it."""
    with canvas.region(cast.face(0.25, 1.35), (-0.6, -0.14, 0.6, 0.18)) as part:
        tint = part.colour(mixed(look.skin, (0.80, 0.32, 0.28), 0.42) for look in cast.looks)
        part.fill(shapes.ellipse(part.x, part.y, 0.105, 0.08), tint)
        part.fill(shapes.circle(part.x + 0.035, part.y + 0.03, 0.022), WHITE, 0.4)
        if any(look.freckles for look in cast.looks):
            spots = part.number(float(look.freckles) for look in cast.looks)
            row = shapes.circle((part.x.abs() - 0.46).abs() - 0.06, part.y + 0.01, 0.026)
            dots = torch.minimum(row, shapes.circle(part.x.abs() - 0.46, part.y - 0.075, 0.026))
            darker = part.colour(mixed(look.skin, (0.62, 0.33, 0.2), 0.55) for look in cast.looks)
            part.fill(dots, darker, spots)


def mouth_boxes(looks: Sequence[Look], pose: Pose, size: int) -> Tensor:
    """Pixel boxes (batch, 4) that hold the open mouth in every frame of the pose."""
    head = Frame(x=pose.x * pose.zoom, y=pose.y * pose.zoom, angle=pose.roll, scale=pose.scale * pose.zoom)
    boxes = []
    for row, look in enumerate(looks):
        frame = head.rows([row]).moved(
            _DEPTH * pose.turn[row], mouth_down(look.subject) + _DEPTH * pose.nod[row]
        )
        boxes.append(frame.bounds((-0.46, -0.20, 0.46, 0.56)))
    return ((torch.tensor(boxes) + 1.0) * size / 2.0).clamp(0.0, float(size))
