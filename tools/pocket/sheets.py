"""Contact sheets: clips as rows of frames, with a line of text above each."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw
from torch import Tensor

SHOWN_FRAMES = 9
LINE = 14


def save_sheet(path: Path, rows: list[tuple[str, Tensor]], side: int = 96) -> None:
    """Write rows of (text, video (3, F, S, S) in [-1, 1]) as one PNG, nine frames of each."""
    height = side + LINE
    sheet = Image.new("RGB", (SHOWN_FRAMES * side, len(rows) * height), "white")
    draw = ImageDraw.Draw(sheet)
    for index, (text, video) in enumerate(rows):
        draw.text((2, index * height), text, fill="black")
        for column, frame in enumerate(
            torch.linspace(0, video.shape[1] - 1, SHOWN_FRAMES).round().long().tolist()
        ):
            sheet.paste(picture(video[:, frame]).resize((side, side)), (column * side, index * height + LINE))
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)


def picture(values: Tensor) -> Image.Image:
    """(3, S, S) in [-1, 1] -> image."""
    pixels = ((values.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy())
