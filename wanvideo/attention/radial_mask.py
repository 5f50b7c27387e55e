"""Which blocks of tokens attend to which in radial attention: a band, narrower the farther two frames are.

After "Radial Attention: O(n log n) Sparse Attention with Energy Decay for Long Video Generation" (Li et al.,
2025) and the mask its authors use for Wan.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DECAY = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class RadialGrid:
    """A video of `frames` latent frames of `frame_tokens` tokens, cut into blocks of `block` tokens.

    Frames need not be whole blocks: a block on the border of two frames belongs to both.
    """

    frames: int
    frame_tokens: int
    block: int

    @property
    def tokens(self) -> int:
        """All tokens of the video."""
        return self.frames * self.frame_tokens

    @property
    def blocks(self) -> int:
        """Blocks, the last of which may be cut short."""
        return -(-self.tokens // self.block)


def band(grid: RadialGrid, distance: int, decay: float = DECAY) -> float | None:
    """How many tokens to either side a token sees in a frame that is `distance` frames away; None for none.

    The same frame is seen in full, the next by half. From there on the reach halves each time the distance
    doubles: 2^bits(frame_tokens) / 2^bits(distance), of which the share `decay` is seen, but a block at
    least. Where the reach is shorter than a block, only every (block / reach)-th distance is seen.
    """
    if distance < 2:
        return grid.frame_tokens / (1 + distance)
    reach: float = 2.0 ** (grid.frame_tokens.bit_length() - distance.bit_length())
    if reach < grid.block and distance % int(grid.block / reach):
        return None
    return max(reach * decay, grid.block)


def radial_mask(grid: RadialGrid, decay: float = DECAY) -> "Tensor":
    """(query blocks, key blocks), true where attention is computed. The first frame is seen by all.

    Two blocks of a pair of frames see each other when their middles are within the band.
    """
    import torch

    mask = torch.zeros(grid.blocks, grid.blocks, dtype=torch.bool)
    pieces = [_pieces(grid, frame) for frame in range(grid.frames)]
    bands = [band(grid, distance, decay) for distance in range(grid.frames)]
    for row, (rows, row_middles) in enumerate(pieces):
        for column, (columns, column_middles) in enumerate(pieces):
            width = grid.frame_tokens if column == 0 else bands[abs(row - column)]
            if width is not None:
                mask[rows, columns] |= (row_middles[:, None] - column_middles[None]).abs() <= width
    return mask


def regrid(mask: "Tensor", grid: RadialGrid, query_block: int, key_block: int) -> "Tensor":
    """The mask for other block sizes, half or twice those of `grid`; a larger block sees what a part of it
    sees.
    """
    return _regrid_rows(_regrid_rows(mask, grid, query_block).T, grid, key_block).T.contiguous()


def _regrid_rows(mask: "Tensor", grid: RadialGrid, block: int) -> "Tensor":
    import torch

    if block <= grid.block:
        return mask.repeat_interleave(grid.block // block, dim=0)[: -(-grid.tokens // block)]
    times = block // grid.block
    whole = torch.nn.functional.pad(mask, (0, 0, 0, -mask.shape[0] % times))
    joined: Tensor = whole.unflatten(0, (-1, times)).any(1)
    return joined


def _pieces(grid: RadialGrid, frame: int) -> "tuple[slice, torch.Tensor]":
    """The blocks a frame lies in, and the middle of its part in each, in tokens from the frame's first."""
    import torch

    begin, end = frame * grid.frame_tokens, (frame + 1) * grid.frame_tokens
    blocks = torch.arange(begin // grid.block, -(-end // grid.block))
    first = (blocks * grid.block).clamp(min=begin)
    last = ((blocks + 1) * grid.block).clamp(max=end)
    return slice(int(blocks[0]), int(blocks[-1]) + 1), (first + last) / 2 - begin
