"""What is measured of the frames of one window, on the device they were decoded on, as they pass by."""

from dataclasses import astuple, dataclass, fields

import torch
from torch import Tensor

from wanvideo.media.color import lab_statistics
from wanvideo.quality.guard import NAN

QUALITY = "quality"  # name of the table of `with_window` in the state of a window
EDGE = 96  # pixels of the shorter edge that are looked at; more change no figure by three percent
BLACK = 3.0  # levels of 255: a darker mean is black, whatever is in it
FLAT = 1.5  # levels: pixels that vary less, in each channel, are one colour
STILL = 0.02  # levels: two frames that differ less on average show the same


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowFigures:
    """The new frames of one window. Colours are distances in Lab from the reference picture, NaN without one:
    of the mean, and of the spread (standard deviation). Changes are mean absolute differences of successive
    frames in levels of 255: `seam` into the first frame (NaN in the first window), `change` the largest
    inside. `still` is the longest run of frames that repeat the one before, `flat` how many are black or one
    colour.
    """

    colour_mean: float
    colour_spread: float
    seam: float
    change: float
    still: float
    flat: float


class FrameWatch:
    """Takes the new frames of one window piece by piece. Nothing here waits for the GPU before `figures`."""

    def __init__(self, reference: Tensor | None = None, last: Tensor | None = None) -> None:
        """Pictures (3, 1, H, W) in [-1, 1]: the one that colours are held to, the last frame of the window
        before.
        """
        self._reference = reference
        self._last = None if last is None else thinned(last)
        self._begins = last is None
        self._rows: list[Tensor] = []

    def look(self, frames: Tensor) -> None:
        """Frames (3, F, H, W) in [-1, 1], before they are rounded."""
        finite = frames.isfinite().all(dim=(2, 3)).all(dim=0)
        seen = thinned(frames.float())
        changes = torch.cat([seen[:, :1] if self._last is None else self._last.to(seen.device), seen], dim=1)
        change = changes.diff(dim=1).abs().mean(dim=(0, 2, 3)) * 127.5
        levels = (seen + 1) * 127.5
        columns = [finite.float(), change, levels.mean(dim=(0, 2, 3)), levels.std(dim=(2, 3)).amax(dim=0)]
        colours = torch.cat(lab_statistics(seen)).float()  # (6, F): three means, three spreads
        self._rows.append(torch.cat([torch.stack(columns), colours]))
        self._last = seen[:, -1:]

    def fault(self) -> str | None:
        """In words what makes the window no video; None when nothing does."""
        finite, _, means, spreads = self._table()[:4]
        if not finite.all():
            return NAN
        if (means < BLACK).all():
            return "black pictures"
        return "pictures of one colour" if (spreads < FLAT).all() else None

    def figures(self) -> WindowFigures:
        """What was seen, once all frames have passed."""
        table = self._table()
        _, changes, means, spreads = table[:4]
        inside = changes[1:]
        mean, spread = self._colour_distances(table[4:])
        return WindowFigures(
            colour_mean=mean,
            colour_spread=spread,
            seam=float("nan") if self._begins else float(changes[0]),
            change=float(inside.max()) if len(inside) else 0.0,
            still=float(_longest_run(inside < STILL)),
            flat=float(((means < BLACK) | (spreads < FLAT)).sum()),
        )

    def _table(self) -> Tensor:
        """(figures, frames) on the host."""
        return torch.cat([row.cpu() for row in self._rows], dim=1)

    def _colour_distances(self, colours: Tensor) -> tuple[float, float]:
        if self._reference is None:
            return float("nan"), float("nan")
        wanted = torch.cat(lab_statistics(thinned(self._reference))).float().cpu()
        mean, spread = (colours.mean(dim=1) - wanted[:, 0]).split(3)
        return float(mean.norm()), float(spread.norm())


def thinned(frames: Tensor) -> Tensor:
    """(..., H, W) -> every n-th row and column, with at least EDGE of each that has as many."""
    step = max(1, min(frames.shape[-2:]) // EDGE)
    return frames[..., ::step, ::step]


def is_flat(picture: Tensor) -> bool:
    """Whether a picture (3, 1, H, W) in [-1, 1] is black or one colour, so that its video may be too."""
    watch = FrameWatch()
    watch.look(picture)
    return watch.fault() is not None


def with_window(before: Tensor | None, index: int, figures: WindowFigures) -> Tensor:
    """The table (windows, figures) of windows 0 to `index`; rows that nobody measured are NaN."""
    row = torch.tensor([astuple(figures)], dtype=torch.float32)
    known = torch.full((0, row.shape[1]), torch.nan) if before is None else before
    missing = torch.full((max(0, index - len(known)), row.shape[1]), torch.nan)
    return torch.cat([known[:index], missing, row])


def read_windows(table: Tensor) -> tuple[WindowFigures, ...]:
    """The rows of `with_window`."""
    names = [field.name for field in fields(WindowFigures)]
    return tuple(WindowFigures(**dict(zip(names, row, strict=True))) for row in table.tolist())


def _longest_run(flags: Tensor) -> int:
    longest = run = 0
    for flag in flags.tolist():
        run = run + 1 if flag else 0
        longest = max(longest, run)
    return longest
