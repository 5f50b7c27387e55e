"""CLIP ViT-H: a picture -> the patch features that Wan 2.1's image branch reads."""

import torch
from torch import Tensor
from transformers import CLIPVisionModel

# Mean and standard deviation of RGB values that CLIP was trained with.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@torch.no_grad()
def encode_picture(model: CLIPVisionModel, picture: Tensor) -> Tensor:
    """Picture (3, 1, H, W) in [-1, 1] -> (257, dim) in the model's dtype: class token and 16 x 16 patches.

    The features before the last of the blocks, without the final norm, as in the official code.
    """
    size = model.config.image_size
    assert isinstance(size, int)
    pixels = preprocess(picture, size).to(model.device, model.dtype)
    features: Tensor = model(pixel_values=pixels, output_hidden_states=True).hidden_states[-2]
    return features[0]


def preprocess(picture: Tensor, size: int) -> Tensor:
    """Picture (3, 1, H, W) in [-1, 1] -> (1, 3, size, size), normalised for CLIP.

    Straight to a square whatever the aspect ratio, bicubic without antialiasing: what the official code does,
    unlike CLIP's usual preprocessor.
    """
    frame = picture[:, 0].float()[None]
    square = torch.nn.functional.interpolate(frame, (size, size), mode="bicubic", align_corners=False)
    mean = torch.tensor(CLIP_MEAN, device=picture.device).view(1, 3, 1, 1)
    std = torch.tensor(CLIP_STD, device=picture.device).view(1, 3, 1, 1)
    return (square * 0.5 + 0.5 - mean) / std
