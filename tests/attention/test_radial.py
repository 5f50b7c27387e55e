"""Radial attention: the mask's rules, and that both providers compute just what the mask says."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.attention.fake_packages import Fake, installed, place, states
from wanvideo.attention import radial
from wanvideo.attention.radial_mask import RadialGrid, band, radial_mask, regrid
from wanvideo.registry import attention_backends

LOAD = attention_backends()["radial_sage_attention"].load
SIZES = {"832x480": 1560, "1280x720": 3600, "832x512": 1664, "768x512": 1536, "640x640": 1600}
FRAMES = 21  # of 81 pictures

# Computes what the block mask says, for tiles that the test chooses; notes the mask.
SPARSE = """
TILES = [128, 64]
MASKS = []

def block_sparse_sage2_attn_cuda(q, k, v, mask_id=None, tensor_layout="HND"):
    assert tensor_layout == "HND" and mask_id.dtype == torch.int8 and mask_id.is_contiguous()
    tiles = [-(-q.shape[2] // TILES[0]), -(-k.shape[2] // TILES[1])]
    assert list(mask_id.shape) == [*q.shape[:2], *tiles], (mask_id.shape, tiles)
    MASKS.append(mask_id)
    seen = mask_id.bool().repeat_interleave(TILES[0], 2).repeat_interleave(TILES[1], 3)
    return torch.nn.functional.scaled_dot_product_attention(
        q, k, v, attn_mask=seen[:, :, : q.shape[2], : k.shape[2]]
    )
"""
SPARGE = Fake("spas_sage_attn", "unused", more=SPARSE)


def grid_of(frame_tokens: int) -> RadialGrid:
    return radial.radial_grid(FRAMES, frame_tokens)


@pytest.mark.parametrize("frame_tokens", SIZES.values(), ids=SIZES)
def test_mask_covers_the_video(frame_tokens: int) -> None:
    grid = grid_of(frame_tokens)
    mask = radial_mask(grid)
    assert mask.shape == (grid.blocks, grid.blocks)
    assert (grid.blocks - 1) * grid.block < FRAMES * frame_tokens <= grid.blocks * grid.block
    assert 0.2 < mask.float().mean() < 0.4
    assert frame_tokens % grid.block == 0 or grid.block == 128
    first = -(-frame_tokens // grid.block)
    assert mask[:, :first].all(), "the first frame is seen by all"
    assert mask.diagonal().all()
    assert torch.equal(mask[first:, first:], mask[first:, first:].T)


@pytest.mark.parametrize("frame_tokens", [1664, 1536, 1600])
def test_distance_rules(frame_tokens: int) -> None:
    """At sizes whose frames are whole blocks each pair of frames is one tile of the mask."""
    grid = grid_of(frame_tokens)
    per_frame = frame_tokens // grid.block
    mask = radial_mask(grid).unflatten(1, (-1, per_frame)).unflatten(0, (-1, per_frame)).transpose(1, 2)
    away = (torch.arange(per_frame)[:, None] - torch.arange(per_frame)).abs() * grid.block
    for row in range(FRAMES):
        for column in range(1, FRAMES):
            distance = abs(row - column)
            reach = 2 ** frame_tokens.bit_length() / 2 ** distance.bit_length()
            width = {0: frame_tokens, 1: frame_tokens / 2}.get(distance, max(reach * 0.2, grid.block))
            seen = distance < 2 or reach >= grid.block or distance % int(grid.block / reach) == 0
            assert torch.equal(mask[row, column], (away <= width) & seen), (row, column)


def test_far_frames_are_left_out_in_turn() -> None:
    grid = RadialGrid(frames=40, frame_tokens=1560, block=128)
    assert [distance for distance in range(16, 40) if band(grid, distance) is not None] == [
        *range(16, 32, 2),
        *range(32, 40, 4),
    ]


def test_no_token_loses_its_own_frame() -> None:
    grid = RadialGrid(frames=FRAMES, frame_tokens=390, block=128)
    seen = tokenwise(radial_mask(grid), grid)
    for start in range(0, grid.tokens, 390):
        assert seen[start : start + 390, start : start + 390].all()


def tokenwise(mask: Tensor, grid: RadialGrid, query_block: int = 0, key_block: int = 0) -> Tensor:
    rows = mask.repeat_interleave(query_block or grid.block, 0)
    return rows.repeat_interleave(key_block or grid.block, 1)[: grid.tokens, : grid.tokens]


@pytest.mark.parametrize("block", [64, 128])
@pytest.mark.parametrize("tiles", [(128, 64), (64, 128)])
@pytest.mark.parametrize("frame_tokens", [100, 130, 192])
def test_mask_for_other_tiles_never_loses_a_pair(
    block: int, tiles: tuple[int, int], frame_tokens: int
) -> None:
    grid = RadialGrid(frames=7, frame_tokens=frame_tokens, block=block)
    mask = radial_mask(grid)
    other = regrid(mask, grid, *tiles)
    assert other.shape == tuple(-(-grid.tokens // size) for size in tiles)
    before, after = tokenwise(mask, grid), tokenwise(other, grid, *tiles)
    assert (before <= after).all()
    if block == 128:
        assert torch.equal(before, after)


def masked(given: tuple[Tensor, ...], seen: Tensor) -> Tensor:
    query, key, value = given
    scores = torch.einsum("bqhd,bkhd->bhqk", query.float(), key.float()) / query.shape[-1] ** 0.5
    scores = scores.masked_fill(~seen, -torch.inf)
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value.float())


@pytest.mark.parametrize(("frames", "frame_tokens"), [(6, 100), (5, 128), (5, 192), (9, 60)])
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_attention_equals_dense_attention_under_the_mask(frames: int, frame_tokens: int) -> None:
    grid = radial.radial_grid(frames, frame_tokens)
    seen = tokenwise(radial_mask(grid), grid)
    assert not seen.all(), "the mask would prove nothing"
    given = states(grid.tokens, 64)
    before = [tensor.clone() for tensor in given]
    attention = radial._flex(grid)
    torch.testing.assert_close(attention(*given).float(), masked(given, seen), atol=2e-2, rtol=2e-2)
    assert all(torch.equal(tensor, copy) for tensor, copy in zip(given, before, strict=True))
    torch._dynamo.reset()
    compiled = torch.compile(lambda *qkv: attention(*qkv) * 2, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*given).float() / 2, masked(given, seen), atol=2e-2, rtol=2e-2)


@pytest.mark.parametrize(("frames", "frame_tokens"), [(6, 100), (4, 1560), (5, 192)])
def test_flex_mask_lists_the_blocks(frames: int, frame_tokens: int) -> None:
    """What the compiled kernel goes by, which on the CPU only looks at single tokens."""
    grid = radial.radial_grid(frames, frame_tokens)
    mask = radial_mask(grid)
    made = radial.flex_mask(mask, grid)
    listed = torch.zeros(2, grid.blocks, grid.blocks, dtype=torch.bool)
    pairs = (made.kv_num_blocks, made.kv_indices), (made.full_kv_num_blocks, made.full_kv_indices)
    for kind, (counts, indices) in enumerate(pairs):
        for row in range(grid.blocks):
            listed[kind, row, indices[0, 0, row, : counts[0, 0, row]].long()] = True
    assert torch.equal(listed[0] | listed[1], mask) and not (listed[0] & listed[1]).any()
    cut_short = grid.tokens % grid.block != 0
    assert not listed[0, :, : grid.blocks - cut_short].any()
    assert torch.equal(listed[0, :, -1], mask[:, -1] & cut_short)


@pytest.mark.parametrize("capability", [None, (8, 9), (9, 0)])
@pytest.mark.parametrize(("frames", "frame_tokens"), [(6, 100), (5, 128), (5, 192)])
def test_sparse_kernel_gets_its_own_tiles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capability: Any, frames: int, frame_tokens: int
) -> None:
    monkeypatch.setattr(radial, "card_capability", lambda: capability)
    with installed(tmp_path, SPARGE):
        attention = LOAD(place(frames=frames, frame_tokens=frame_tokens))
        tiles = [64, 128] if capability == (9, 0) else [128, 64]
        sys.modules["spas_sage_attn"].TILES[:] = tiles
        grid = radial.radial_grid(frames, frame_tokens)
        given = states(grid.tokens, 64)
        seen = tokenwise(regrid(radial_mask(grid), grid, *tiles), grid, *tiles)
        torch.testing.assert_close(attention(*given).float(), masked(given, seen), atol=2e-2, rtol=2e-2)
        assert len(sys.modules["spas_sage_attn"].MASKS) == 1


def test_dense_where_the_method_wants_it(tmp_path: Path) -> None:
    exact = attention_backends()["sdpa"].load(place())
    with installed(tmp_path, SPARGE):
        sparse = {
            (block, step, speakers): LOAD(place(block=block, step=step, speakers=speakers)) is not exact
            for block in range(3)
            for step in range(4)
            for speakers in (1, 2)
        }
    assert {key for key, is_sparse in sparse.items() if is_sparse} == {
        (block, step, 1) for block in (1, 2) for step in (2, 3)
    }
