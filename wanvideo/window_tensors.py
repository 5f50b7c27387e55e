"""The tensors of one window from pictures, speech and boxes.

Pure functions of their arguments, so that a recorded run of the official code can be replayed through them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from wanvideo.geometry import speaker_halves
from wanvideo.media.pictures import fit_mask
from wanvideo.windows import Window

SPEECH_CONTEXT = (-2, -1, 0, 1, 2)  # speech frames seen around each pixel frame


def reference_clip(picture: Tensor, frames: int, end_picture: Tensor | None = None) -> Tensor:
    """(3, frames, H, W): the picture, mid-grey frames (0.0, not black), and the end picture if there is
    one.
    """
    grey = torch.zeros_like(picture).expand(-1, frames - 1 - (end_picture is not None), -1, -1)
    parts = [picture, grey] if end_picture is None else [picture, grey, end_picture]
    return torch.cat(parts, dim=1)


def with_mask(latents: Tensor, has_end: bool = False) -> Tensor:
    """(16, T, h, w) -> (20, T, h, w): four mask channels first, one per pixel frame of a latent frame; 1 =
    given.

    The first pixel frame fills all four channels of the first latent frame; an end picture only the last of
    the last.
    """
    mask = torch.zeros(4, *latents.shape[1:], device=latents.device)
    mask[:, 0] = 1
    if has_end:
        mask[3, -1] = 1
    return torch.cat([mask, latents])


def speech_windows(speech: Sequence[Tensor], window: Window) -> Tensor:
    """(speakers, frames, 5, layers, channels): per pixel frame the speech frames around it, by absolute
    index.

    An index past either end is clamped; in the tail window speech that ends inside is first continued by its
    mirror image.
    """
    per_speaker = []
    for embedding in speech:
        source = mirror_tail(embedding, window.start + window.frames) if window.is_tail else embedding
        indices = torch.arange(window.start, window.start + window.frames)[:, None] + torch.tensor(
            SPEECH_CONTEXT
        )
        per_speaker.append(source[indices.clamp(0, len(source) - 1)])
    return torch.stack(per_speaker)


def mirror_tail(embedding: Tensor, end: int) -> Tensor:
    """Append the last `end - len + 3` rows in reverse when the speech ends before row `end` or on it."""
    missing = end - len(embedding) + 3
    if end < len(embedding):
        return embedding
    return torch.cat([embedding, embedding[-missing:].flip(0)])


def speaker_masks(boxes: Sequence[Sequence[float]], height: int, width: int) -> Tensor:
    """(3, height, width): person 1, person 2, background, on the source picture.

    Boxes are [x0, y0, x1, y1] with x = columns; without any, the left and the right half less a margin.
    """
    masks = torch.zeros(3, height, width)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes or speaker_halves(height, width), strict=False):
        mask[int(y0) : int(y1), int(x0) : int(x1)] = 1
    masks[2] = (masks[:2].sum(dim=0) == 0).float()
    return masks


def latent_masks(masks: Tensor, height: int, width: int) -> Tensor:
    """Masks (3, h, w) of the source picture -> (3, height / 8, width / 8) of 0 / 1 on the video's latents."""
    fitted = fit_mask(masks, height, width)
    small = torch.nn.functional.interpolate(fitted[None], (height // 8, width // 8), mode="nearest")[0]
    return (small > 0).float()


def token_masks(masks: Tensor) -> Tensor:
    """Masks (3, h, w) at latent resolution -> (3, tokens) of 0 / 1, one per 2 x 2 patch."""
    tokens = torch.nn.functional.interpolate(
        masks[None], (masks.shape[1] // 2, masks.shape[2] // 2), mode="nearest"
    )[0]
    return (tokens > 0).float().flatten(1)
