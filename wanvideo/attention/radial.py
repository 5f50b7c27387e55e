"""Radial attention: block-sparse self-attention whose mask is known beforehand from the video's size.

spas_sage_attn computes it where that package is installed, else torch's flex attention. The first blocks and
steps, and a video with two speakers, are dense and exact.
"""

from functools import cache, partial
from typing import TYPE_CHECKING, Any

from wanvideo.attention.kernel import Kernel, make_attention
from wanvideo.attention.providers import Provider, card_capability, load_first, unavailable_reason
from wanvideo.attention.radial_mask import RadialGrid, radial_mask, regrid
from wanvideo.attention.sdpa import fastest_attend
from wanvideo.registry import AttentionBackend, AttentionFunction, AttentionPlace

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn.attention.flex_attention import BlockMask

DENSE_BLOCKS, DENSE_STEPS = 1, 2
BLOCKS = (128, 64)
SPARSE_SAGE = Provider(module="spas_sage_attn", function="block_sparse_sage2_attn_cuda", since=(8, 0))
TRITON = Provider(module="triton", function="jit", since=(8, 0))  # compiles flex attention
HOPPER = (9, 0)


def is_dense(place: AttentionPlace) -> bool:
    """Whether all tokens attend to all there. Which of two speakers a token belongs to needs that."""
    return place.block < DENSE_BLOCKS or place.step < DENSE_STEPS or place.speakers > 1


def radial_grid(frames: int, frame_tokens: int) -> RadialGrid:
    """With the larger block that divides a frame; the largest when none does."""
    block = next((size for size in BLOCKS if frame_tokens % size == 0), BLOCKS[0])
    return RadialGrid(frames=frames, frame_tokens=frame_tokens, block=block)


@cache
def _sparse(grid: RadialGrid) -> AttentionFunction:
    return _sparse_sage(grid) if SPARSE_SAGE.is_here() else _flex(grid)


def _sparse_sage(grid: RadialGrid) -> AttentionFunction:
    """It takes any number of tokens, and leaves out what lies past the last key."""
    provider, function = load_first("SpargeAttn", [SPARSE_SAGE])
    tiles = (64, 128) if card_capability() == HOPPER else (128, 64)  # of queries and keys in its kernels
    mask = _to_device(regrid(radial_mask(grid), grid, *tiles).char())

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> Any:
        per_head = mask.expand(
            *query.shape[:2], -1, -1
        ).contiguous()  # (batch, heads, query tiles, key tiles)
        return function(query, key, value, mask_id=per_head)

    kernel = Kernel(
        name=f"radial_{grid.frames}x{grid.frame_tokens}",
        head_dims=(64, 128),
        heads_first=True,
        least_tokens=128,
        packed=True,
    )
    return make_attention(kernel, call, provider.title)


def _flex(grid: RadialGrid) -> AttentionFunction:
    import torch
    from torch.nn.attention.flex_attention import flex_attention

    mask = flex_mask(radial_mask(grid), grid)
    attention = torch.compile(flex_attention, dynamic=False) if torch.cuda.is_available() else flex_attention

    def call(query: "Tensor", key: "Tensor", value: "Tensor") -> Any:
        return attention(query, key, value, block_mask=mask)

    kernel = Kernel(
        name="radial_flex",
        head_dims=(64, 128),
        heads_first=True,
        pads_to=grid.block,
        packed=True,
        opaque=False,
    )
    return make_attention(kernel, call, f"{flex_attention.__module__}.{flex_attention.__qualname__}")


def flex_mask(mask: "Tensor", grid: RadialGrid) -> "BlockMask":
    """The mask for flex attention over tokens filled up to whole blocks; the added keys are hidden.

    Blocks of real keys alone are "full": the kernel does not look at single tokens in them.
    """
    import torch
    from torch.nn.attention.flex_attention import BlockMask

    mask = _to_device(mask)
    full = mask.clone()
    full[:, grid.tokens // grid.block :] = False

    def is_seen(batch: "Tensor", head: "Tensor", query: "Tensor", key: "Tensor") -> "Tensor":  # noqa: ARG001
        seen: Tensor = mask[query // grid.block, key // grid.block] & (key < grid.tokens)
        return seen

    def listed(blocks: "Tensor") -> "tuple[Tensor, Tensor]":
        """How many key blocks a row has, (1, 1, rows), and which, the seen first, (1, 1, rows, columns)."""
        order = blocks.int().argsort(dim=1, descending=True, stable=True).int()
        return blocks.sum(1, dtype=torch.int32)[None, None], order[None, None]

    length = grid.blocks * grid.block
    return BlockMask.from_kv_blocks(
        *listed(mask & ~full),
        *listed(full),
        BLOCK_SIZE=grid.block,
        mask_mod=is_seen,
        seq_lengths=(length, length),
        compute_q_blocks=False,  # they serve the backward pass alone
    )


def _to_device(tensor: "Tensor") -> "Tensor":
    import torch

    return tensor.cuda() if torch.cuda.is_available() else tensor


def _remark(place: AttentionPlace) -> str | None:
    """What has to be said where nothing of a video is sparse."""
    if place.speakers > 1:
        return "with two speakers all of it is dense and exact: which one a token belongs to needs all tokens"
    if place.steps <= DENSE_STEPS:
        return f"the first {DENSE_STEPS} steps are dense and exact, here that is all"
    return None


def _load(place: AttentionPlace) -> AttentionFunction:
    return fastest_attend() if is_dense(place) else _sparse(radial_grid(place.frames, place.frame_tokens))


BACKENDS = (
    AttentionBackend(
        name="radial_sage_attention",
        label="Radial (block-sparse)",
        priority=-30,
        fallback="sageattn",
        unavailable_reason=partial(unavailable_reason, providers=[SPARSE_SAGE, TRITON]),
        load=_load,
        remark=_remark,
    ),
)
