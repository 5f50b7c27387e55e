"""CLIP: official goldens for the preprocessing and for the features."""

import torch
from transformers import CLIPVisionConfig, CLIPVisionModel

from tests.checkpoint.samples import below, golden, relative_error
from wanvideo.checkpoint import configs
from wanvideo.checkpoint.keys import to_module
from wanvideo.models.image_encoder import encode_picture, preprocess


def test_golden_features() -> None:
    tensors, info = golden("clip_visual_tiny.safetensors")
    state = to_module("image_encoder", below(tensors, "w."))
    sizes = configs.image_encoder_config(state) | {"num_attention_heads": info["cfg"]["num_heads"]}
    model = CLIPVisionModel(CLIPVisionConfig(**sizes)).eval()
    model.load_state_dict(state)
    picture = tensors["in.video_minus1_1"][0]  # (3, 1, height, width), not square
    assert relative_error(preprocess(picture, 56), tensors["inter.pixels"]) <= 1e-6
    features = encode_picture(model, picture)
    assert features.shape == (17, 64)
    assert relative_error(features, tensors["out.tokens"][0]) <= 1e-4


def test_a_grey_picture_has_grey_pixels() -> None:
    pixels = preprocess(torch.zeros(3, 1, 20, 30), 28)
    assert pixels.shape == (1, 3, 28, 28)
    assert torch.allclose(
        pixels[0, :, 0, 0],
        (0.5 - torch.tensor([0.4815, 0.4578, 0.4082])) / torch.tensor([0.2686, 0.2613, 0.2758]),
        atol=1e-3,
    )
