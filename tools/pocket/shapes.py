"""Signed distances to simple shapes: negative inside, in the units of the coordinates.

Every function takes coordinates of any (broadcasting) shape, y pointing down; sizes are numbers or tensors.
"""

import math

import torch
from torch import Tensor

Size = float | Tensor


def ellipse(x: Tensor, y: Tensor, a: Size, b: Size) -> Tensor:
    """Half axes a and b. First-order distance: exact on the edge, where it is needed."""
    u, v = x / a, y / b
    level = torch.sqrt(u * u + v * v)
    slope = torch.sqrt((u / a) ** 2 + (v / b) ** 2).clamp_min(1e-4)
    return level * (level - 1.0) / slope


def circle(x: Tensor, y: Tensor, radius: Size) -> Tensor:
    return torch.sqrt(x * x + y * y) - radius


def egg(x: Tensor, y: Tensor, a: Size, b: Size, cheeks: Size) -> Tensor:
    """An ellipse that is wider below its centre for cheeks > 0, and wider above for cheeks < 0."""
    return ellipse(x / (1.0 + cheeks * (y / b).clamp(-1.2, 1.2)), y, a, b)


def box(x: Tensor, y: Tensor, half_width: Size, half_height: Size, corner: Size) -> Tensor:
    """A rectangle with round corners of radius `corner`, which lie inside the half sizes."""
    u, v = x.abs() - half_width + corner, y.abs() - half_height + corner
    outside = torch.sqrt(u.clamp_min(0.0) ** 2 + v.clamp_min(0.0) ** 2)
    return outside + torch.maximum(u, v).clamp_max(0.0) - corner


def segment(
    x: Tensor, y: Tensor, start: tuple[float, float], end: tuple[float, float], radius: Size
) -> Tensor:
    """A line with round ends."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    along = (((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy)).clamp(0.0, 1.0)
    return circle(x - start[0] - along * dx, y - start[1] - along * dy, radius)


def curve(x: Tensor, y: Tensor, half_width: Size, bend: Size, radius: Size) -> Tensor:
    """A bent line through the origin; its ends lie `bend` lower than its middle (negative: a smile)."""
    near = torch.minimum(torch.maximum(x, -_tensor(half_width, x)), _tensor(half_width, x))
    share = near / half_width
    slope = 2.0 * bend * share / half_width
    off = (y - bend * share * share) / torch.sqrt(1.0 + slope * slope)
    return torch.sqrt((x - near) ** 2 + off * off) - radius


def triangle(x: Tensor, y: Tensor, half_width: Size, half_height: Size, corner: Size) -> Tensor:
    """Apex up, centred in its bounding box, with soft corners."""
    slant = torch.as_tensor(half_width / (2.0 * half_height))
    across = torch.sqrt(x * x + 0.2 * corner * corner)
    side = (across - (y + half_height) * slant) / torch.sqrt(1.0 + slant * slant)
    return smooth_maximum(side, y - half_height, corner)


def star(x: Tensor, y: Tensor, radius: Size) -> Tensor:
    """Five round points, the first one up."""
    turn = 2.0 * math.pi / 5.0
    angle = torch.atan2(x, -y)
    folded = torch.remainder(angle + turn / 2.0, turn) - turn / 2.0
    length = torch.sqrt(x * x + y * y)
    u, v = length * torch.sin(folded).abs(), length * torch.cos(folded)
    inner = 0.5
    tip_x, tip_y = inner * math.sin(turn / 2.0), inner * math.cos(turn / 2.0)
    normal_x, normal_y = 1.0 - tip_y, tip_x
    scale = math.hypot(normal_x, normal_y)
    return (u * normal_x + (v - radius) * normal_y) / scale - 0.02


def heart(x: Tensor, y: Tensor, radius: Size) -> Tensor:
    """A square on its corner with a disc on each upper edge; `radius` reaches the sides."""
    unit = radius / 0.86
    tilt = math.sqrt(0.5)
    u, v = x.abs() / unit, 0.07 - y / unit
    rising, falling = (u + v) * tilt, (v - u) * tilt
    square = box(rising, falling, 0.5, 0.5, 0.06)
    return torch.minimum(square, circle(rising - 0.5, falling, 0.5)) * unit


def smooth_minimum(first: Tensor, second: Tensor, radius: Size) -> Tensor:
    """The union of two shapes with a fillet where they meet (quadratic polynomial blend)."""
    mix = (0.5 + 0.5 * (second - first) / radius).clamp(0.0, 1.0)
    return torch.lerp(second, first, mix) - radius * mix * (1.0 - mix)


def smooth_maximum(first: Tensor, second: Tensor, radius: Size) -> Tensor:
    """The intersection of two shapes with a rounded edge where they meet."""
    return -smooth_minimum(-first, -second, radius)


def _tensor(value: Size, like: Tensor) -> Tensor:
    return value if isinstance(value, Tensor) else torch.full((), value, dtype=like.dtype, device=like.device)
