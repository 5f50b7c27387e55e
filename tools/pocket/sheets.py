"""Contact sheets: clips as rows of frames with a line of text above each, and curves of mouths below."""

from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

SHOWN_FRAMES = 9
MARGIN, GAP, LINE, STRIP, ROW_GAP = 12, 4, 20, 34, 12
LIMIT_BYTES = 350_000
_PAPER, _INK, _FAINT, _TRUE, _MARK = "#ffffff", "#24292f", "#6e7781", "#d5dae0", "#8c959f"
_CURVES = ("#d6336c", "#1c7ed6")
_FINE = 4  # curves are drawn this much larger and averaged down: Pillow's own lines have hard steps


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetRow:
    """One clip. `curves` are pairs (true in [0, 1], seen in [0, 1]) of equally many values over the frames.

    `target` (3, H, W) in [-1, 1] is a picture shown at the end of the row; `marks` are frames with a dashed
    line.
    """

    caption: str
    video: Tensor
    """(3, F, H, W) in [-1, 1]."""
    note: str = ""
    target: Tensor | None = None
    curves: tuple[tuple[Tensor, Tensor], ...] = ()
    marks: tuple[int, ...] = ()


def save_sheet(path: Path, rows: list[tuple[str, Tensor]], side: int = 96) -> None:
    """Write rows of (text, video (3, F, S, S) in [-1, 1]), nine frames of each."""
    save_rows(path, [SheetRow(caption=text, video=video) for text, video in rows], side)


def save_rows(path: Path, rows: list[SheetRow], side: int = 108) -> None:
    """Write a sheet; a JPEG gets the best quality that fits into `LIMIT_BYTES`.

    Raises ValueError when even a poor one does not fit.
    """
    sheet = draw_sheet(rows, side)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix != ".jpg":
        sheet.save(path)
        return
    for quality in range(92, 48, -4):
        sheet.save(path, quality=quality, optimize=True, progressive=True)
        if path.stat().st_size <= LIMIT_BYTES:
            return
    raise ValueError(f"{len(rows)} rows of {side} pixels are too many for {path.name}")


def draw_sheet(rows: list[SheetRow], side: int) -> Image.Image:
    """All rows below each other, on white."""
    columns = SHOWN_FRAMES + any(row.target is not None for row in rows)
    width = 2 * MARGIN + columns * (side + GAP) - GAP + (2 * GAP if columns > SHOWN_FRAMES else 0)
    heights = [LINE + side + len(row.curves) * STRIP + ROW_GAP for row in rows]
    sheet = Image.new("RGB", (width, 2 * MARGIN + sum(heights) - ROW_GAP), _PAPER)
    top = MARGIN
    for row, height in zip(rows, heights, strict=True):
        _draw_row(sheet, row, top, side)
        top += height
    return sheet


def picture(values: Tensor) -> Image.Image:
    """(3, S, S) in [-1, 1] -> image."""
    pixels = ((values.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())


def _draw_row(sheet: Image.Image, row: SheetRow, top: int, side: int) -> None:
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    right = sheet.width - MARGIN
    draw.text((right, top), row.note, fill=_FAINT, font=font, anchor="ra")
    room = right - MARGIN - draw.textlength(row.note, font=font) - 2 * GAP
    draw.text((MARGIN, top), _fitted(row.caption, room, draw, font), fill=_INK, font=font)
    frames = torch.linspace(0, row.video.shape[1] - 1, SHOWN_FRAMES).round().long().tolist()
    for column, frame in enumerate(frames):
        _paste(sheet, row.video[:, frame], (MARGIN + column * (side + GAP), top + LINE), side)
    if row.target is not None:
        _paste(sheet, row.target, (right - side, top + LINE), side)
    for number, (true, seen) in enumerate(row.curves):
        strip = _strip(true, seen, row.marks, side, _CURVES[number % len(_CURVES)])
        sheet.paste(strip, (MARGIN, top + LINE + side + number * STRIP))


def _paste(sheet: Image.Image, pixels: Tensor, place: tuple[int, int], side: int) -> None:
    sheet.paste(picture(pixels).resize((side, side), Image.Resampling.LANCZOS), place)


def _fitted(
    text: str, room: float, draw: ImageDraw.ImageDraw, font: ImageFont.ImageFont | ImageFont.FreeTypeFont
) -> str:
    """`text`, shortened at its end until it is no wider than `room` pixels."""
    if draw.textlength(text, font=font) <= room:
        return text
    while text and draw.textlength(text + "...", font=font) > room:
        text = text[:-1]
    return text.rstrip() + "..."


def _strip(true: Tensor, seen: Tensor, marks: tuple[int, ...], side: int, colour: str) -> Image.Image:
    """Curves over the row's width, each shown frame's moment below its middle."""
    width = SHOWN_FRAMES * (side + GAP) - GAP
    image = Image.new("RGB", (width * _FINE, STRIP * _FINE), _PAPER)
    draw = ImageDraw.Draw(image)
    floor, ceiling = (STRIP - 4) * _FINE, 5 * _FINE
    across = torch.linspace(side / 2, width - side / 2, len(true)) * _FINE

    def points(values: Tensor) -> list[tuple[float, float]]:
        down = floor - values.clamp(0, 1) * (floor - ceiling)
        return list(zip(across.tolist(), down.tolist(), strict=True))

    draw.polygon([(float(across[0]), floor), *points(true), (float(across[-1]), floor)], fill=_TRUE)
    for mark in marks:
        x = float(across[mark] + across[mark - 1]) / 2
        for y in range(0, STRIP, 6):
            draw.line([(x, y * _FINE), (x, (y + 3) * _FINE)], fill=_MARK, width=_FINE)
    draw.line([(float(across[0]), floor), (float(across[-1]), floor)], fill=_TRUE, width=_FINE)
    draw.line(points(seen), fill=colour, width=2 * _FINE, joint="curve")
    return image.resize((width, STRIP), Image.Resampling.LANCZOS)
