"""Legal sizes and lengths: pixels in multiples of 16, frames 4n+1, the published size tables. Pure
arithmetic.
"""

import math
from collections.abc import Sequence

from wanvideo.errors import UserError

SIZE_STEP = 16  # VAE stride 8 times patch 2
FRAME_STEP = 4  # VAE stride in time
FACE_MARGIN = 0.05  # of the picture's height and of a half's width, around the default speaker regions

# (height, width) of InfiniteTalk's two quality tiers, ASPECT_RATIO_627 and ASPECT_RATIO_960 of the official
# code, by height / width
TALK_BUCKETS: dict[int, dict[float, tuple[int, int]]] = {
    480: {
        0.26: (320, 1216), 0.38: (384, 1024), 0.50: (448, 896), 0.67: (512, 768), 0.82: (576, 704),
        1.00: (640, 640), 1.22: (704, 576), 1.50: (768, 512), 1.86: (832, 448), 2.00: (896, 448),
        2.50: (960, 384), 2.83: (1088, 384), 3.60: (1152, 320), 3.80: (1216, 320),
        4.00: (1280, 320),
    },
    720: {
        0.22: (448, 2048), 0.29: (512, 1792), 0.36: (576, 1600), 0.45: (640, 1408),
        0.55: (704, 1280), 0.63: (768, 1216), 0.76: (832, 1088), 0.88: (896, 1024),
        1.00: (960, 960), 1.14: (1024, 896), 1.31: (1088, 832), 1.50: (1152, 768),
        1.58: (1216, 768), 1.82: (1280, 704), 1.91: (1344, 704), 2.20: (1408, 640),
        2.30: (1472, 640), 2.67: (1536, 576), 2.89: (1664, 576), 3.62: (1856, 512),
        3.75: (1920, 512),
    },
}  # fmt: skip


def bucket_size(ratio: float, tier: int) -> tuple[int, int]:
    """(height, width) of the talk bucket whose height / width is nearest to `ratio`."""
    buckets = TALK_BUCKETS[tier]
    return buckets[min(buckets, key=lambda key: abs(key - ratio))]


def area_size(ratio: float, area: int) -> tuple[int, int]:
    """(height, width) near `area` pixels at height / width = `ratio`, both multiples of 16."""
    height = max(SIZE_STEP, round(math.sqrt(area * ratio)) // SIZE_STEP * SIZE_STEP)
    width = max(SIZE_STEP, round(math.sqrt(area / ratio)) // SIZE_STEP * SIZE_STEP)
    return height, width


def quality_tier(height: int, width: int) -> int:
    """480 or 720: the tier whose defaults (flow shift) fit this size."""
    return 720 if height * width > 640_000 else 480


def cover_size(source: tuple[int, int], target: tuple[int, int]) -> tuple[int, int]:
    """The smallest (height, width) of the source's proportions that covers the target, rounded up."""
    scale = max(target[0] / source[0], target[1] / source[1])
    return math.ceil(scale * source[0]), math.ceil(scale * source[1])


def visible_part(source: tuple[int, int], target: tuple[int, int]) -> tuple[range, range]:
    """(rows, columns) of a source picture that its video shows: it covers the video, cropped in the middle.

    `source` and `target` are (height, width).
    """
    sizes = zip(source, cover_size(source, target), target, strict=True)
    rows, columns = (
        range((first := round((full - shown) / 2)) * size // full, min((first + shown) * size // full, size))
        for size, full, shown in sizes
    )
    return rows, columns


def token_pixels(source: tuple[int, int], target: tuple[int, int]) -> tuple[list[int], list[int]]:
    """(rows, columns) of a source picture at which the tokens of its video look for a speaker.

    Masks are scaled and cropped as the picture, by nearest neighbour, so each token has the class of one
    pixel.
    """
    sizes = zip(source, cover_size(source, target), target, strict=True)
    rows, columns = (
        [(round((full - shown) / 2) + pixel) * size // full for pixel in range(0, shown, SIZE_STEP)]
        for size, full, shown in sizes
    )
    return rows, columns


def speaker_halves(height: int, width: int) -> list[tuple[float, float, float, float]]:
    """The boxes of two speakers nobody drew boxes for: left and right half of the picture less a margin."""
    half, rows = width // 2, (int(height * FACE_MARGIN), int(height * (1 - FACE_MARGIN)))
    left, right = int(half * FACE_MARGIN), int(half * (1 - FACE_MARGIN))
    return [(left, rows[0], right, rows[1]), (half + left, rows[0], half + right, rows[1])]


def check_size(name: str, value: int) -> int:
    """The value itself when it is a multiple of 16. Raises UserError naming the two nearest."""
    if value % SIZE_STEP:
        low = value // SIZE_STEP * SIZE_STEP
        nearest = [size for size in (low, low + SIZE_STEP) if size > 0]
        raise UserError(
            f"{name} must be a multiple of {SIZE_STEP}", value=value, allowed=_nearest_text(nearest)
        )
    return value


def check_frames(name: str, value: int) -> int:
    """The value itself when it is 4n+1. Raises UserError naming the two nearest."""
    if (value - 1) % FRAME_STEP:
        low = (value - 1) // FRAME_STEP * FRAME_STEP + 1
        nearest = [low, low + FRAME_STEP]
        raise UserError(f"{name} must be 4n+1", value=value, allowed=_nearest_text(nearest))
    return value


def nearest_frames(seconds: float, fps: float) -> int:
    """The length 4n+1 nearest to `seconds`."""
    return max(1, round((seconds * fps - 1) / FRAME_STEP) * FRAME_STEP + 1)


def latent_frames(frames: int) -> int:
    """How many latent frames stand for `frames` pixel frames."""
    return (frames - 1) // FRAME_STEP + 1


def _nearest_text(values: Sequence[int]) -> str:
    return " or ".join(map(str, values)) + " are the nearest"
