"""Backgrounds, and the painter that puts subjects before them."""

from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor
from torch.nn import functional

from tools.pocket import shapes
from tools.pocket.animals import draw_bears, draw_cats
from tools.pocket.canvas import Canvas, Frame, Region, screen_frame
from tools.pocket.faces import Cast
from tools.pocket.figures import draw_figures
from tools.pocket.looks import PEOPLE, Look, Setting
from tools.pocket.palette import BACKDROPS, mixed
from tools.pocket.people import draw_people
from tools.pocket.poses import Pose
from tools.pocket.robots import draw_robots

_ARTISTS: dict[str, Callable[[Canvas, Cast], None]] = {
    "cat": draw_cats,
    "bear": draw_bears,
    "robot": draw_robots,
    **dict.fromkeys(PEOPLE, draw_people),
}
_WHOLE = (-1.0, -1.0, 1.0, 1.0)


def paint(
    looks: Sequence[Look], settings: Sequence[Setting], pose: Pose, size: int, device: torch.device
) -> Tensor:
    """One subject per clip before its background -> (batch, 3, frames, size, size) in [0, 1]."""
    pixels = _seen(backgrounds(settings, size, device), pose.zoom)
    add_subjects(pixels, looks, pose)
    return pixels


def add_subjects(pixels: Tensor, looks: Sequence[Look], pose: Pose) -> None:
    """Draw one more subject of any kind into each clip of a painted batch, in place."""
    for rows in _alike(looks).values():
        index = torch.tensor(rows, device=pixels.device)
        canvas = Canvas(pixels[index])
        place_subjects(canvas, [looks[row] for row in rows], pose.rows(rows))
        pixels[index] = canvas.pixels


def place_subjects(canvas: Canvas, looks: Sequence[Look], pose: Pose) -> None:
    """Draw subjects of one kind (all people, all cats, ...) on a canvas, each in its pose."""
    head = Frame(x=pose.x * pose.zoom, y=pose.y * pose.zoom, angle=pose.roll, scale=pose.scale * pose.zoom)
    cast = Cast(looks=looks, pose=pose, head=head)
    _ARTISTS.get(looks[0].subject, draw_figures)(canvas, cast)


def backgrounds(settings: Sequence[Setting], size: int, device: torch.device) -> Tensor:
    """-> (batch, 3, 1, size, size)."""
    canvas = Canvas(torch.ones(len(settings), 3, 1, size, size, device=device))
    screen = screen_frame(len(settings), 1)
    with canvas.region(screen, _WHOLE) as part:
        part.blend(torch.ones_like(part.x), part.colour(setting.main for setting in settings))
    for place, draw in _PLACES.items():
        rows = [row for row, setting in enumerate(settings) if setting.place == place]
        if rows:
            with canvas.region(screen, _WHOLE, rows) as part:
                draw(part, settings)
    return canvas.pixels


def _alike(looks: Sequence[Look]) -> dict[str, list[int]]:
    """Clips by how they are drawn: all people together, every other subject by itself."""
    groups: dict[str, list[int]] = {}
    for row, look in enumerate(looks):
        groups.setdefault("person" if look.subject in PEOPLE else look.subject, []).append(row)
    return groups


def _seen(backdrop: Tensor, zoom: Tensor) -> Tensor:
    """A still background through a camera: (batch, 3, 1, size, size) -> (batch, 3, frames, size, size)."""
    pixels = backdrop.expand(-1, -1, zoom.shape[1], -1, -1).clone()
    for row in torch.nonzero((zoom != 1.0).any(dim=1)).flatten().tolist():
        pictures = pixels[row].transpose(0, 1)
        scale = (1.0 / zoom[row]).to(backdrop.device)
        theta = torch.zeros(len(scale), 2, 3, device=backdrop.device)
        theta[:, 0, 0] = theta[:, 1, 1] = scale
        grid = functional.affine_grid(theta, list(pictures.shape), align_corners=False)
        near = functional.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
        pixels[row] = near.transpose(0, 1)
    return pixels


def _gradient(part: Region, settings: Sequence[Setting]) -> None:
    part.blend((part.y * 0.5 + 0.5).clamp(0.0, 1.0), part.colour(BACKDROPS[s.second] for s in settings))


def _stripes(part: Region, settings: Sequence[Setting]) -> None:
    lean = part.number(Random(s.seed).choice((-0.5, 0.0, 0.5)) for s in settings)
    wave = torch.asin(torch.sin(9.0 * (part.x + lean * part.y))) * 0.11
    part.fill(wave, part.colour(mixed(s.main, (1.0, 1.0, 1.0), 0.45) for s in settings))


def _bokeh(part: Region, settings: Sequence[Setting]) -> None:
    _gradient(part, settings)
    for spot in range(9):
        draws = [Random(s.seed + spot) for s in settings]
        places = [
            (r.uniform(-1, 1), r.uniform(-1, 1), r.uniform(0.08, 0.22), r.uniform(0.25, 0.6)) for r in draws
        ]
        x, y, radius, opacity = (part.number(place[i] for place in places) for i in range(4))
        part.fill(shapes.circle(part.x - x, part.y - y, radius), (1.0, 1.0, 0.97), opacity)


def _room(part: Region, settings: Sequence[Setting]) -> None:
    """A wall, a floor, a window with sky on one side and a picture on the other."""
    side = part.number(Random(s.seed).choice((-1.0, 1.0)) for s in settings)
    part.fill(
        0.72 - part.y, part.colour(mixed(BACKDROPS[s.second], (0.55, 0.38, 0.28), 0.45) for s in settings)
    )
    part.fill((part.y - 0.72).abs() - 0.025, (0.98, 0.96, 0.92))
    x, y = part.x - 0.66 * side, part.y + 0.48
    frame = shapes.box(x, y, 0.31, 0.40, 0.05)
    part.fill(frame, (0.98, 0.96, 0.92))
    pane = shapes.box(x.abs() - 0.135, y.abs() - 0.175, 0.115, 0.15, 0.02)
    part.fill(pane, (0.62, 0.83, 0.96))
    x, y = part.x + 0.68 * side, part.y + 0.52
    part.fill(shapes.box(x, y, 0.23, 0.23, 0.03), (0.80, 0.60, 0.42))
    part.fill(shapes.box(x, y, 0.175, 0.175, 0.02), (0.99, 0.95, 0.87))
    part.fill(shapes.circle(x, y, 0.09), part.colour(BACKDROPS[s.second] for s in settings))


def _hills(part: Region, settings: Sequence[Setting]) -> None:
    """Sky, sun, two clouds and two rows of hills, at any hour of the day."""
    draws = [Random(s.seed) for s in settings]
    part.blend((0.75 - part.y * 0.5).clamp(0.0, 1.0), (0.56, 0.80, 0.97))
    places = [(r.choice((-0.7, 0.7)), r.uniform(-0.75, -0.55), r.uniform(0, 6.28)) for r in draws]
    x, y, phase = (part.number(place[i] for place in places) for i in range(3))
    part.glow(shapes.circle(part.x - x, part.y - y, 0.36), (1.0, 0.95, 0.70), 0.25, 0.8)
    part.fill(shapes.circle(part.x - x, part.y - y, 0.17), (1.0, 0.86, 0.35))
    for across, down in ((-1.15, 0.12), (0.35, -0.12)):
        u, v = part.x + x * across, part.y + 0.6 + down
        cloud = shapes.smooth_minimum(
            shapes.ellipse(u, v, 0.27, 0.085), shapes.circle(u - 0.03, v + 0.06, 0.11), 0.05
        )
        part.fill(cloud, (1.0, 1.0, 1.0), 0.9)
    part.fill((0.12 + 0.16 * torch.sin(2.1 * part.x + phase) - part.y) * 0.9, (0.62, 0.82, 0.55))
    part.fill((0.38 + 0.13 * torch.sin(2.9 * part.x + 2.0 * phase) - part.y) * 0.9, (0.47, 0.73, 0.42))


_PLACES: dict[str, Callable[[Region, Sequence[Setting]], None]] = {
    "gradient": _gradient,
    "stripes": _stripes,
    "bokeh": _bokeh,
    "room": _room,
    "hills": _hills,
}
