"""How the VAE's picture is cut into overlapping tiles, and what a pixel takes of a card. Pure arithmetic."""

from dataclasses import dataclass
from itertools import pairwise

CELL = 8  # pixels of one latent along an edge
TILE_STEP = 16
TILE_OVERLAP = 64  # with tiles of 272, 96 would be 1.5 times the work, and 128 1.8 times
SMALLEST_TILE = 3 * TILE_OVERLAP  # below, three tiles could share a pixel

# Live bytes at the peak for each pixel of the picture, or of the largest tile, in fp32 at the published
# widths; bf16 takes 0.53 of it. Any length takes as much: half is what the causal convolutions remember, two
# frames before each, half is four frames in the blocks of full size. The weights (0.5 GB), the allocator and
# cuDNN's workspaces come on top: where these figures and the weights came to 7.7 GiB, an H200 reserved 9.5,
# 0.7 of them for a video that was joined on the card.
DECODE_BYTES_PER_PIXEL = 19_500
ENCODE_BYTES_PER_PIXEL = 14_100


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Cells `start` to `stop` of one axis; the first `rise` are shared with the span before, the last `fall`
    with the one after.
    """

    start: int
    stop: int
    rise: int = 0
    fall: int = 0

    def times(self, factor: int) -> "Span":
        """The same span in cells `factor` times as small."""
        return Span(
            start=self.start * factor,
            stop=self.stop * factor,
            rise=self.rise * factor,
            fall=self.fall * factor,
        )

    def weights(self) -> list[float]:
        """The share of this span in each of its cells; the shares of a cell sum to 1.

        Where spans overlap, the outer quarter counts for nothing, since the picture seems to end there, and a
        linear ramp leads over the half between.
        """
        length = self.stop - self.start
        return [_share(cell, self.rise) * _share(length - 1 - cell, self.fall) for cell in range(length)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One tile of a picture, in latents of 8 x 8 pixels."""

    rows: Span
    columns: Span

    @property
    def pixels(self) -> int:
        """Its area."""
        rows, columns = self.rows, self.columns
        return (rows.stop - rows.start) * (columns.stop - columns.start) * CELL**2


def tile_grid(height: int, width: int, tile: int) -> tuple[Tile, ...]:
    """The tiles of a picture of height x width pixels, row by row, none with an edge above `tile` pixels.

    0 is one tile, the whole. All have one size, the smallest that leaves neighbours at least 64 pixels in
    common: an evenly cut picture has no thin tile at its end, and takes less than it was given. Raises
    ValueError for a tile that is no multiple of 16 or smaller than 192.
    """
    if tile and (tile % TILE_STEP or tile < SMALLEST_TILE):
        raise ValueError(f"a tile must be a multiple of {TILE_STEP} from {SMALLEST_TILE} on, got {tile}")
    rows, columns = (_spans(edge // CELL, (tile or edge) // CELL) for edge in (height, width))
    return tuple(Tile(rows=row, columns=column) for row in rows for column in columns)


def _spans(length: int, longest: int) -> tuple[Span, ...]:
    if length <= longest:
        return (Span(start=0, stop=length),)
    overlap = TILE_OVERLAP // CELL
    count = -(-(length - overlap) // (longest - overlap))
    edge = -(-(length + (count - 1) * overlap) // count)
    starts = [index * (length - edge) // (count - 1) for index in range(count)]
    shared = [first + edge - second for first, second in pairwise(starts)]
    return tuple(
        Span(start=start, stop=start + edge, rise=rise, fall=fall)
        for start, rise, fall in zip(starts, [0, *shared], [*shared, 0], strict=True)
    )


def _share(cell: int, shared: int) -> float:
    """Of the `cell`-th from an end that shares its first `shared` cells."""
    if cell >= shared:
        return 1.0
    unseen = shared // 4
    return min(1.0, max(0, cell + 1 - unseen) / (shared + 1 - 2 * unseen))
