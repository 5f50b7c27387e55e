"""A picture file as pixels, and pixels as the tensor of a given size that the models take."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps

from wanvideo.geometry import cover_size
from wanvideo.media.probe import open_picture

SIXTEEN_BIT_MODES = ("I;16", "I;16L", "I;16B", "I;16N", "I")


def load_picture(path: str | Path) -> Image.Image:
    """The picture as 8-bit RGB, the right way up. Raises UserError for what `probe_picture` refuses.

    Transparency is laid on white: the colours hidden under transparent pixels are arbitrary, cut-outs are
    drawn for white pages, and on black dark hair would melt into the background.
    """
    with open_picture(path) as image:
        upright = ImageOps.exif_transpose(image)
        return _as_rgb(upright)


def fit_picture(picture: Image.Image, height: int, width: int) -> torch.Tensor:
    """The picture scaled to cover height x width and cropped in the middle: (3, 1, height, width) in [-1, 1].

    float32. The geometry of InfiniteTalk's `resize_and_centercrop`: Pillow's bilinear to the next whole
    pixel, then torchvision's rounding of the crop.
    """
    full_height, full_width = cover_size((picture.height, picture.width), (height, width))
    pixels = np.array(picture.resize((full_width, full_height), Image.Resampling.BILINEAR))
    image = torch.from_numpy(pixels).permute(2, 0, 1)  # (3, full_height, full_width)
    return (_center_crop(image, height, width).float() / 255 * 2 - 1)[:, None]


def fit_mask(mask: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Masks (n, h, w) on the pixels of a picture -> (n, height, width), moved as `fit_picture` moves it.

    Nearest neighbour, so values stay what they are; float32.
    """
    full_size = cover_size((mask.shape[-2], mask.shape[-1]), (height, width))
    full = F.interpolate(mask[None].float(), size=full_size, mode="nearest")[0]
    return _center_crop(full, height, width)


def to_frames(video: torch.Tensor) -> npt.NDArray[np.uint8]:
    """Decoded pixels (3, F, H, W) in [-1, 1] -> frames (F, H, W, 3) uint8, rounded to the nearest level."""
    levels = ((video.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(1, 2, 3, 0).contiguous().cpu().numpy()


def _as_rgb(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT_MODES:  # convert("RGB") would clip everything above 255 to white
        return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        layered = image.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        return Image.alpha_composite(white, layered).convert("RGB")
    return image.convert("RGB")


def _center_crop(image: torch.Tensor, height: int, width: int) -> torch.Tensor:
    top = int(round((image.shape[-2] - height) / 2.0))  # Python's round to even, as torchvision has it
    left = int(round((image.shape[-1] - width) / 2.0))
    return image[..., top : top + height, left : left + width]
