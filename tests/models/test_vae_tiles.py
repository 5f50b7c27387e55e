"""Tiles: the grid, what blending leaves of seams on the pocket model, and what a pixel takes of a card."""

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_vae
from wanvideo.geometry import TALK_BUCKETS
from wanvideo.media.pictures import fit_picture, load_picture
from wanvideo.models.vae import decode, decode_pieces, encode, use_fast_cpu_convolution
from wanvideo.models.vae_tiles import (
    CELL,
    DECODE_BYTES_PER_PIXEL,
    ENCODE_BYTES_PER_PIXEL,
    SMALLEST_TILE,
    TILE_OVERLAP,
    TILE_STEP,
    Span,
    tile_grid,
)

ROOT = Path(__file__).parents[2]
SIZES = {(64, 64), (480, 832), (720, 1280), (1088, 1920)} | {
    size for tier in TALK_BUCKETS.values() for size in tier.values()
}
TILES = (SMALLEST_TILE, 208, 272, 400, 512, 1024)


def spans_of(edge: int, tile: int) -> list[Span]:
    return [part.rows for part in tile_grid(edge, CELL, tile)]


@pytest.mark.parametrize("tile", TILES)
def test_spans_cover_an_edge_once_and_share_enough(tile: int) -> None:
    for edge in sorted({edge for size in SIZES for edge in size}):
        spans = spans_of(edge, tile)
        assert len({span.stop - span.start for span in spans}) == 1
        assert (spans[0].stop - spans[0].start) * CELL <= max(tile, 0)
        assert spans[0].start == 0 and spans[-1].stop * CELL == edge
        for first, second in zip(spans, spans[1:], strict=False):
            assert first.fall == second.rise == first.stop - second.start >= TILE_OVERLAP // CELL
        for factor in (1, CELL):
            shares, tiles = torch.zeros(edge // CELL * factor), torch.zeros(edge // CELL * factor)
            for span in (span.times(factor) for span in spans):
                shares[span.start : span.stop] += torch.tensor(span.weights())
                tiles[span.start : span.stop] += 1
            assert (shares - 1).abs().max() <= 1e-6 and tiles.max() <= 2


def test_a_grid_joins_rows_and_columns() -> None:
    grid = tile_grid(480, 832, 272)
    assert len(grid) == 8 and {part.pixels for part in grid} == {272 * 256}
    assert {part.rows for part in grid} == set(spans_of(480, 272))
    assert {part.columns for part in grid} == set(spans_of(832, 272))
    assert [part.pixels for part in tile_grid(480, 832, 0)] == [480 * 832]
    assert [part.pixels for part in tile_grid(480, 832, 832)] == [480 * 832]


@pytest.mark.parametrize("tile", [TILE_STEP, SMALLEST_TILE - TILE_STEP, SMALLEST_TILE + 8, -TILE_STEP])
def test_a_tile_of_no_use_is_a_mistake_of_ours(tile: int) -> None:
    with pytest.raises(ValueError, match="a tile must be"):
        tile_grid(480, 832, tile)


@pytest.fixture(scope="module")
def pocket() -> AutoencoderKLWan:
    return load_vae(inspect_checkpoint(ROOT / "models" / "pocket" / "pocket_vae.safetensors")).eval()


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """(3, 5, 208, 272): the bundled pair of speakers, moved a little from frame to frame."""
    wide = fit_picture(load_picture(ROOT / "examples" / "pair.png"), 224, 320)[:, 0]
    return torch.stack([wide[:, 3 * t : 3 * t + 208, 5 * t : 5 * t + 272] for t in range(5)], dim=1)


@pytest.fixture(scope="module")
def latents(pocket: AutoencoderKLWan, clip: Tensor) -> Tensor:
    return encode(pocket, clip)


@pytest.fixture(scope="module")
def whole(pocket: AutoencoderKLWan, latents: Tensor) -> Tensor:
    return decode(pocket, latents)


def decibels(error: Tensor) -> float:
    """PSNR of pixels in [-1, 1]."""
    return float(10 * torch.log10(4 / error.square().mean()))


def test_decoding_in_tiles_leaves_no_seams(
    pocket: AutoencoderKLWan, clip: Tensor, latents: Tensor, whole: Tensor
) -> None:
    """Each tile looks at itself alone (the attention of the middle block), so values differ everywhere."""
    assert len(tile_grid(*clip.shape[-2:], SMALLEST_TILE)) == 4
    error = decode(pocket, latents, SMALLEST_TILE) - whole
    assert decibels(error) >= 49 and error.abs().max() <= 0.2
    assert error.abs().mean() <= 0.05 * (whole - clip).abs().mean(), "next to the loss of the VAE itself"
    for axis in (-1, -2):
        # Of the difference, between neighbours: a seam is a line of jumps from end to end of the picture.
        jumps = error.diff(dim=axis).abs().transpose(-1, axis).mean(dim=(0, 1, 2))
        assert jumps.max() <= 3 * jumps.mean()
        assert jumps.max() <= 0.1 * whole.diff(dim=axis).abs().mean()


def test_encoding_in_tiles_means_the_same_picture(
    pocket: AutoencoderKLWan, clip: Tensor, latents: Tensor, whole: Tensor
) -> None:
    tiled = encode(pocket, clip, SMALLEST_TILE)
    assert tiled.shape == latents.shape and tiled.dtype == torch.float32
    assert (tiled - latents).norm() <= 0.006 * latents.norm()
    assert decibels(decode(pocket, tiled) - whole) >= 60


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of all storages that were made inside and are not yet dropped."""

    def __init__(self, *present: Tensor) -> None:
        super().__init__()
        self.peak = self._now = 0
        self._known = {tensor.untyped_storage()._cdata: 0 for tensor in present}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # noqa: ARG002
        made = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, Tensor) and leaf.untyped_storage()._cdata not in self._known:
                self._count(leaf.untyped_storage())
        return made

    def _count(self, storage: torch.UntypedStorage) -> None:
        self._known[storage._cdata] = storage.nbytes()
        self._now += storage.nbytes()
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._drop, storage._cdata)

    def _drop(self, key: int) -> None:
        self._now -= self._known.pop(key)


def decoded_bytes(vae: AutoencoderKLWan, latents: Tensor, tile: int = 0) -> int:
    """Live at the peak while the pieces go by."""
    with LiveBytes(latents) as live:
        for piece in decode_pieces(vae, latents, tile):
            assert piece.shape[1] in (1, 4)
    return live.peak


def encoded_bytes(vae: AutoencoderKLWan, latents: Tensor, tile: int = 0) -> int:
    """Live at the peak while a video of as many frames is encoded."""
    _, length, height, width = latents.shape
    video = torch.zeros(3, 4 * length - 3, CELL * height, CELL * width, device=latents.device)
    with LiveBytes(video) as live:
        encode(vae, video, tile)
    return live.peak


BOTH_WAYS = [
    pytest.param(decoded_bytes, DECODE_BYTES_PER_PIXEL, id="decode"),
    pytest.param(encoded_bytes, ENCODE_BYTES_PER_PIXEL, id="encode"),
]
Measure = Callable[..., int]


@pytest.mark.parametrize(("measure", "per_pixel"), BOTH_WAYS)
def test_bytes_of_a_pixel_are_those_of_the_published_widths(measure: Measure, per_pixel: int) -> None:
    with torch.device("meta"):  # shapes alone: every tensor of a forward pass, and none of its work
        vae = AutoencoderKLWan().eval()
        for length, height, width in ((3, 480, 832), (12, 272, 272)):
            latents = torch.empty(16, length, height // CELL, width // CELL)
            assert measure(vae, latents) == pytest.approx(per_pixel * height * width, rel=0.01)


@pytest.mark.parametrize(("measure", "per_pixel"), BOTH_WAYS)
def test_a_tile_takes_its_share_of_the_picture(measure: Measure, per_pixel: int) -> None:
    del per_pixel
    torch.manual_seed(0)
    vae = use_fast_cpu_convolution(AutoencoderKLWan(base_dim=8, num_res_blocks=1).eval())
    latents = torch.randn(16, 2, 38, 38)
    part = tile_grid(304, 304, SMALLEST_TILE)[0].pixels / 304**2
    video = 3 * 5 * 304**2 * 4  # blended in host memory, which here is where all the rest is
    assert measure(vae, latents, SMALLEST_TILE) <= 1.1 * part * measure(vae, latents) + video
