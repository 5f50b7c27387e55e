import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from tests.media.media_files import GOLDENS, picture
from wanvideo.media.pictures import fit_mask, fit_picture, load_picture, to_frames
from wanvideo.media.probe import PictureFacts, probe_picture


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp", "gif", "jpg"])
def test_every_format_is_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"face.{suffix}"
    picture().save(path, **({"lossless": True} if suffix == "webp" else {}))
    loaded = load_picture(path)
    assert loaded.mode == "RGB"
    assert probe_picture(path) == PictureFacts(width=60, height=40)
    tolerance = {"jpg": 12, "gif": 40}.get(suffix, 0)
    difference = np.asarray(loaded).astype(int) - np.asarray(picture()).astype(int)
    assert abs(difference).mean() <= tolerance


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "face.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    undo = {
        2: 0,
        3: 3,
        4: 1,
        5: 5,
        6: 2,
        7: 6,
        8: 4,
    }  # the transpose that stores the upright picture this way
    stored = picture() if orientation == 1 else picture().transpose(Image.Transpose(undo[orientation]))
    stored.save(path, exif=exif, quality=95)
    loaded = load_picture(path)
    facts = probe_picture(path)
    assert loaded.size == (facts.width, facts.height) == (60, 40)
    red, green, _ = np.asarray(loaded)[3, 4].astype(int)
    assert red > 200 and green < 60


def test_transparency_is_laid_on_white(tmp_path: Path) -> None:
    cut_out = picture().convert("RGBA")
    cut_out.putalpha(Image.new("L", cut_out.size, 0))
    cut_out.save(tmp_path / "clear.png")
    palette = picture().quantize(16)
    palette.save(tmp_path / "palette.png", transparency=palette.getpixel((0, 0)))
    assert load_picture(tmp_path / "clear.png").getextrema() == ((255, 255),) * 3
    assert load_picture(tmp_path / "palette.png").getpixel((0, 0)) == (255, 255, 255)


def test_sixteen_bits_and_grey_keep_their_tones(tmp_path: Path) -> None:
    deep = np.linspace(0, 65_535, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray((deep >> 8).astype(np.uint8)).save(tmp_path / "grey.png")
    loaded = [np.asarray(load_picture(tmp_path / name)) for name in ("deep.png", "grey.png")]
    assert (loaded[0] == loaded[1]).all()
    assert (loaded[0][..., 0] == deep >> 8).all()


@pytest.mark.parametrize("size", [(60, 40), (40, 60), (101, 37), (64, 64)])
@pytest.mark.parametrize("target", [(48, 48), (32, 80), (112, 64)])
def test_fit_picture_covers_and_crops_the_middle(size: tuple[int, int], target: tuple[int, int]) -> None:
    source, (height, width) = picture(*size), target
    scale = max(height / source.height, width / source.width)
    full = source.resize(
        (math.ceil(scale * source.width), math.ceil(scale * source.height)), Image.Resampling.BILINEAR
    )
    left, top = round((full.width - width) / 2), round((full.height - height) / 2)
    expected = np.asarray(full.crop((left, top, left + width, top + height)), np.float32) / 255 * 2 - 1
    fitted = fit_picture(source, height, width)
    assert fitted.shape == (3, 1, height, width) and fitted.dtype == torch.float32
    assert np.array_equal(fitted[:, 0].permute(1, 2, 0).numpy(), expected)


def test_fit_picture_equals_the_reference() -> None:
    if not (GOLDENS / "loop_single_3cfg.safetensors").is_file():
        pytest.skip("the reference tensors are not here")
    frames = load_file(GOLDENS / "loop_inputs.safetensors")["frames_u8"]
    expected = load_file(GOLDENS / "loop_single_3cfg.safetensors")["w0.motion_pixels"]
    assert torch.equal(fit_picture(Image.fromarray(frames[0].numpy()), 64, 96), expected)


def test_fit_mask_follows_the_picture() -> None:
    pixels = np.zeros((40, 60, 3), np.uint8)
    pixels[10:30, 20:50] = 255
    mask = torch.from_numpy(pixels[..., 0] > 0)[None]
    fitted = fit_mask(mask, 64, 48)
    assert fitted.shape == (1, 64, 48) and set(fitted.unique().tolist()) == {0.0, 1.0}
    seen = fit_picture(Image.fromarray(pixels), 64, 48)[0, 0] > 0
    assert (seen == (fitted[0] > 0)).float().mean() > 0.97


def test_to_frames_undoes_the_scaling() -> None:
    levels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(3, 2, 16, 16)
    frames = to_frames(levels.float() / 255 * 2 - 1)
    assert frames.shape == (2, 16, 16, 3) and frames.flags.c_contiguous
    assert (frames[1, ..., 2] == levels[0, 0].numpy()).all()
