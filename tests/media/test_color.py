"""Colour correction against scikit-image, the library of the official code."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from wanvideo.media.color import match_colors

skcolor = pytest.importorskip("skimage.color")


def pictures(kind: str) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    frames = torch.rand(3, 4, 20, 24, generator=generator) * 2 - 1
    reference = torch.rand(3, 1, 20, 24, generator=generator) * 1.4 - 0.9
    if kind == "dark":
        frames = frames * 0.05 - 0.94
    if kind == "saturated":
        frames, reference = frames.sign(), reference.sign()
    if kind == "ramp":
        ramp = torch.linspace(-1, 1, 480).reshape(20, 24)
        frames = (
            torch.stack([ramp, ramp.flip(0), ramp.T.reshape(20, 24)])[:, None]
            .expand(3, 2, 20, 24)
            .contiguous()
        )
    return frames, reference


def with_skimage(
    frame: NDArray[np.float64], reference: NDArray[np.float64], strength: float
) -> NDArray[np.float64]:
    rgb = (frame.transpose(1, 2, 0) + 1) / 2
    lab, target = skcolor.rgb2lab(rgb), skcolor.rgb2lab((reference.transpose(1, 2, 0) + 1) / 2)
    matched = np.empty_like(lab)
    for channel in range(3):
        source, wanted = lab[..., channel], target[..., channel]
        if source.std() == 0:
            matched[..., channel] = wanted.mean()
        else:
            matched[..., channel] = (source - source.mean()) * (wanted.std() / source.std()) + wanted.mean()
    blended = (1 - strength) * rgb + strength * np.clip(skcolor.lab2rgb(matched), 0, 1)
    return (blended * 2 - 1).transpose(2, 0, 1)


@pytest.mark.filterwarnings("ignore:Conversion from CIE-LAB")
@pytest.mark.parametrize("strength", [1.0, 0.35])
@pytest.mark.parametrize("kind", ["plain", "dark", "saturated", "ramp"])
def test_equals_skimage_frame_by_frame(kind: str, strength: float) -> None:
    frames, reference = pictures(kind)
    corrected = match_colors(frames, reference, strength)
    for number in range(frames.shape[1]):
        expected = with_skimage(
            frames[:, number].double().numpy(), reference[:, 0].double().numpy(), strength
        )
        assert np.abs(corrected[:, number].numpy() - expected).max() <= 1e-5


def test_a_flat_frame_takes_the_mean_colour_of_the_reference() -> None:
    _, reference = pictures("plain")
    corrected = match_colors(torch.full((3, 1, 20, 24), 0.3), reference, 1.0)
    mean = skcolor.rgb2lab((reference[:, 0].double().numpy().transpose(1, 2, 0) + 1) / 2).mean(axis=(0, 1))
    assert torch.allclose(
        corrected[:, 0, 0, 0].double(), torch.tensor(skcolor.lab2rgb(mean) * 2 - 1), atol=1e-5
    )
    assert corrected.flatten(1).std(dim=1).max() < 1e-5


def test_strength_zero_changes_nothing_and_a_frame_matched_to_itself_stays() -> None:
    frames, reference = pictures("plain")
    assert match_colors(frames, reference, 0) is frames
    assert torch.allclose(match_colors(reference, reference, 1.0), reference, atol=1e-5)
