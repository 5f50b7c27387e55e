"""Floating-point operations of a forward pass, two for each multiply and add.

Of the 14B model: 1678 x 10^12 at 832x480 and 81 frames, 6523 at 1280x720; InfiniteTalk at 640x640: 1895.
"""

from dataclasses import dataclass

from wanvideo.geometry import latent_frames
from wanvideo.memory import constants
from wanvideo.memory.work import Job


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockFlops:
    """Of one block: its linears, its self-attention, its attention to text, picture and speech."""

    linears: float
    self_attention: float
    cross_attention: float

    @property
    def all(self) -> float:
        """Of the whole block."""
        return self.linears + self.self_attention + self.cross_attention


def block_flops(job: Job) -> BlockFlops:
    """Query, key, value, output, the two of cross-attention and the feed-forward run on every token; keys and
    values of the conditions on theirs.
    """
    sizes, tokens, dim = job.sizes, job.work.tokens, job.sizes.dim
    frames = latent_frames(job.work.frames)
    keys = constants.TEXT_TOKENS + constants.IMAGE_TOKENS * sizes.has_image
    speech = constants.AUDIO_TOKENS * job.work.speakers * sizes.has_audio
    on_tokens = 6 * dim**2 + 2 * dim * sizes.ffn_dim + 2 * dim**2 * sizes.has_audio
    on_conditions = keys * 2 * dim**2 + frames * speech * 2 * dim * constants.AUDIO_DIM
    return BlockFlops(
        linears=2.0 * (tokens * on_tokens + on_conditions),
        self_attention=4.0 * tokens**2 * dim,
        cross_attention=4.0 * tokens * (keys + speech) * dim,
    )


def forward_flops(job: Job) -> float:
    """Of all blocks."""
    return job.sizes.blocks * block_flops(job).all
