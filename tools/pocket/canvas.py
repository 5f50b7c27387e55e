"""A stack of clips to draw on: placed coordinate frames, and regions that shapes are filled into."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType

import torch
from torch import Tensor

Colour = tuple[float, float, float]
Box = tuple[float, float, float, float]

# One outline colour for the whole world: a soft plum instead of black.
LINE: Colour = (0.25, 0.13, 0.20)
_EDGE_PIXELS = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a part stands: centre, angle in radians and size of its unit, each (batch, frames) on the CPU.

    They stay on the CPU so that a region's pixel bounds are known without waiting for the device.
    """

    x: Tensor
    y: Tensor
    angle: Tensor
    scale: Tensor

    def moved(self, right: Tensor | float, down: Tensor | float) -> "Frame":
        """The same frame with its centre moved, in its own units and axes."""
        cos, sin = torch.cos(self.angle), torch.sin(self.angle)
        x = self.x + self.scale * (cos * right - sin * down)
        y = self.y + self.scale * (sin * right + cos * down)
        return Frame(x=x, y=y, angle=self.angle, scale=self.scale)

    def rows(self, rows: Sequence[int]) -> "Frame":
        index = torch.tensor(rows, dtype=torch.long)
        return Frame(x=self.x[index], y=self.y[index], angle=self.angle[index], scale=self.scale[index])

    def bounds(self, box: Box) -> Box:
        """The screen box that holds `box` (own units) in every clip and frame."""
        cos, sin = torch.cos(self.angle) * self.scale, torch.sin(self.angle) * self.scale
        corners = [(box[i], box[j]) for i in (0, 2) for j in (1, 3)]
        xs = torch.stack([self.x + cos * u - sin * v for u, v in corners])
        ys = torch.stack([self.y + sin * u + cos * v for u, v in corners])
        return float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())


def screen_frame(batch: int, frames: int) -> Frame:
    """The whole picture: -1..1 in both directions."""
    zero = torch.zeros(batch, frames)
    return Frame(x=zero, y=zero, angle=zero, scale=torch.ones(batch, frames))


class Canvas:
    """Pixels (batch, 3, frames, size, size) in [0, 1] on one device."""

    def __init__(self, pixels: Tensor) -> None:
        self.pixels = pixels
        self.size = pixels.shape[-1]

    def region(self, frame: Frame, box: Box, rows: Sequence[int] | None = None) -> "Region":
        """The part of the picture that `box` of `frame` can touch; `rows` names the clips to draw on."""
        return Region(self, frame if rows is None else frame.rows(rows), box, rows)


class Region:
    """A window of a canvas; x and y (rows, frames, height, width) are coordinates in a frame."""

    def __init__(self, canvas: Canvas, frame: Frame, box: Box, rows: Sequence[int] | None) -> None:
        self._rows = None if rows is None else torch.tensor(rows, dtype=torch.long)
        self._device = canvas.pixels.device
        top, bottom, left, right = _window(frame.bounds(box), canvas.size)
        self._target = canvas.pixels[..., top:bottom, left:right]
        index = None if self._rows is None else self._rows.to(self._device)
        self._pixels = self._target if index is None else self._target[index]
        packed = torch.stack([frame.x, frame.y, torch.cos(frame.angle), torch.sin(frame.angle), frame.scale])
        centre_x, centre_y, cos, sin, scale = packed.to(self._device)[..., None, None]
        across = _pixel_centres(left, right, canvas.size, self._device)
        down = _pixel_centres(top, bottom, canvas.size, self._device)[:, None]
        dx, dy = (across - centre_x) / scale, (down - centre_y) / scale
        self.x, self.y = cos * dx + sin * dy, cos * dy - sin * dx
        self._edge = _EDGE_PIXELS * 2.0 / canvas.size / scale

    def __enter__(self) -> "Region":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and self._rows is not None:
            self._target[self._rows.to(self._device)] = self._pixels

    def colour(self, colours: Iterable[Colour]) -> Tensor:
        """One colour per clip of the canvas -> (rows, 3, 1, 1, 1)."""
        return self._picked(torch.tensor(list(colours)))[..., None, None, None]

    def number(self, values: Iterable[float]) -> Tensor:
        """One number per clip of the canvas -> (rows, 1, 1, 1)."""
        return self._picked(torch.tensor(list(values), dtype=torch.float32))[:, None, None, None]

    def track(self, values: Tensor) -> Tensor:
        """(batch, frames) on the CPU -> (rows, frames, 1, 1)."""
        return self._picked(values)[..., None, None]

    def cover(self, distance: Tensor) -> Tensor:
        """How much of each pixel a shape covers, with an edge about one and a half pixels soft."""
        share: Tensor = (0.5 - distance / self._edge).clamp(0.0, 1.0)
        return share * share * (3.0 - 2.0 * share)

    def fill(self, distance: Tensor, colour: Tensor | Colour, opacity: Tensor | float = 1.0) -> None:
        self.blend(self.cover(distance) * opacity, colour)

    def shaded(self, distance: Tensor, colour: Tensor, light: float, line: float = 0.0) -> None:
        """Fill with a colour that is `light` brighter above and darker below, and an outline around it."""
        if line:
            self.fill(distance - line, LINE)
        tone = 1.0 - light * (self.y + 0.35 * self.x).clamp(-1.3, 1.3)
        self.blend(self.cover(distance), (colour * tone[:, None]).clamp(0.0, 1.0))

    def outlined(
        self, distance: Tensor, colour: Tensor | Colour, line: float, opacity: Tensor | float = 1.0
    ) -> None:
        self.fill(distance - line, LINE, opacity)
        self.fill(distance, colour, opacity)

    def glow(self, distance: Tensor, colour: Tensor | Colour, reach: float, opacity: Tensor | float) -> None:
        """A soft spot that fades out over `reach` inside its edge."""
        share = (-distance / reach).clamp(0.0, 1.0)
        self.blend(share * share * (3.0 - 2.0 * share) * opacity, colour)

    def blend(self, weight: Tensor, colour: Tensor | Colour) -> None:
        """weight (rows, frames or 1, height, width)."""
        if not isinstance(colour, Tensor):
            colour = torch.tensor(colour, device=self._device)[None, :, None, None, None]
        self._pixels.lerp_(colour, weight[:, None])

    def _picked(self, values: Tensor) -> Tensor:
        return (values if self._rows is None else values[self._rows]).to(self._device)


def _window(bounds: Box, size: int) -> tuple[int, int, int, int]:
    """Screen bounds -> top, bottom, left, right in pixels, two pixels wider and inside the picture."""
    left, top, right, bottom = ((value + 1.0) * size / 2.0 for value in bounds)
    low = [min(max(math.floor(value) - 2, 0), size - 1) for value in (top, left)]
    high = [
        min(max(math.ceil(value) + 2, start + 1), size)
        for value, start in zip((bottom, right), low, strict=True)
    ]
    return low[0], high[0], low[1], high[1]


def _pixel_centres(start: int, end: int, size: int, device: torch.device) -> Tensor:
    return (torch.arange(start, end, device=device, dtype=torch.float32) + 0.5) * (2.0 / size) - 1.0
