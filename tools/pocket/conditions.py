"""The networks that are trained together, and how conditions are put before them."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import CLIPVisionModel, UMT5EncoderModel

from tools.pocket.components import (
    MASK_CHANNELS,
    build_image_encoder,
    build_text_encoder,
    build_transformer,
    load_component,
    save_component,
)
from wanvideo.geometry import speaker_halves
from wanvideo.models.image_encoder import CLIP_MEAN, CLIP_STD
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.models.text_encoder import MAX_TOKENS
from wanvideo.models.transformer import WanTransformer
from wanvideo.window_tensors import latent_masks, speaker_masks, token_masks

AUDIO_NAMES = ("audio_proj.", "norm_x.", "audio_cross_attn.")


class PocketModel(nn.Module):
    """What is trained together: UMT5, CLIP, the picture-and-speech transformer, the text transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.text: UMT5EncoderModel = build_text_encoder()
        self.image: CLIPVisionModel = build_image_encoder()
        self.i2v: WanTransformer = build_transformer(talks=True)
        self.t2v: WanTransformer = build_transformer(talks=False)

    def load(self, folder: Path) -> None:
        """Take over every component that `folder` has."""
        load_component(self.text, folder, "pocket_umt5")
        load_component(self.image, folder, "pocket_clip")
        load_component(self.i2v, folder, "pocket_i2v", "pocket_infinitetalk")
        load_component(self.t2v, folder, "pocket_t2v")

    def save(self, folder: Path) -> None:
        """Write every component; speech keys go into a file of their own, as InfiniteTalk's do."""
        save_component(folder, "pocket_umt5", self.text.state_dict())
        save_component(folder, "pocket_clip", self.image.state_dict())
        save_component(folder, "pocket_t2v", self.t2v.state_dict())
        state = self.i2v.state_dict()
        speech = {name: value for name, value in state.items() if any(part in name for part in AUDIO_NAMES)}
        save_component(folder, "pocket_infinitetalk", speech)
        base = {name: value for name, value in state.items() if name not in speech}
        save_component(folder, "pocket_i2v", base)

    def prompt_rows(self, ids: Tensor) -> Tensor:
        """Token ids (B, n), zero where there is none -> rows (B, 512, dim), zero where there is none."""
        valid = ids != 0
        rows = self.text(input_ids=ids.long(), attention_mask=valid.long()).last_hidden_state
        return nn.functional.pad(rows * valid[..., None], (0, 0, 0, MAX_TOKENS - ids.shape[1]))

    def picture_tokens(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) in [-1, 1] -> (B, 257, dim), taken before the last layer."""
        size = (self.image.config.image_size,) * 2
        square = nn.functional.interpolate(pictures, size, mode="bicubic", align_corners=False)
        mean, std = (torch.tensor(row, device=square.device).view(3, 1, 1) for row in (CLIP_MEAN, CLIP_STD))
        pixels = (square * 0.5 + 0.5 - mean) / std
        tokens: Tensor = self.image(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
        return tokens


def with_condition(latents: Tensor, condition: Tensor, ends: Tensor | None = None) -> Tensor:
    """Noisy latents and the picture's (B, 16, T, h, w) -> the 36 channels of an image-to-video model.

    The four mask channels between them, one per pixel frame of a latent frame, are one where the frame is
    given: in the first latent frame, and for clips with `ends` (B,) in the last pixel frame of the last.
    """
    mask = torch.zeros_like(latents[:, :MASK_CHANNELS])
    mask[:, :, 0] = 1
    if ends is not None:
        mask[:, -1, -1] = ends[:, None, None].to(mask.dtype)
    return torch.cat([latents, mask, condition], dim=1)


def default_halves(latents: Tensor) -> SpeakerRegions:
    """The regions of two speakers nobody drew boxes for, for latents (B, 16, T, h, w)."""
    height, width = (8 * size for size in latents.shape[3:])
    return _regions(speaker_halves(height, width), latents)


def random_halves(latents: Tensor) -> SpeakerRegions:
    """The default regions, or as often boxes with wider margins, such as people draw around faces."""
    height, width = (8 * size for size in latents.shape[3:])
    boxes = speaker_halves(height, width)
    if torch.rand(()) < 0.5:
        left, top, right = (
            torch.rand(3) * torch.tensor([0.05 * width, 0.35 * height, 0.05 * width])
        ).tolist()
        boxes = [(x0 + left, y0 + top, x1 - right, y1) for x0, y0, x1, y1 in boxes]
    return _regions(boxes, latents)


def _regions(boxes: Sequence[Sequence[float]], latents: Tensor) -> SpeakerRegions:
    height, width = (8 * size for size in latents.shape[3:])
    masks = latent_masks(speaker_masks(boxes, height, width), height, width)
    return SpeakerRegions(token_masks(masks).to(latents.device))
