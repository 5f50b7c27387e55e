"""The networks that are trained together, and how conditions are put before them."""

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
from wanvideo.models.image_encoder import CLIP_MEAN, CLIP_STD
from wanvideo.models.text_encoder import MAX_TOKENS
from wanvideo.models.transformer import WanTransformer

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


def with_condition(latents: Tensor, condition: Tensor) -> Tensor:
    """Noisy latents and the picture's (B, 16, T, h, w) -> the 36 channels of an image-to-video model.

    The four mask channels between them are one for the first latent frame, which is given, else zero.
    """
    mask = torch.zeros_like(latents[:, :MASK_CHANNELS])
    mask[:, :, 0] = 1
    return torch.cat([latents, mask, condition], dim=1)
