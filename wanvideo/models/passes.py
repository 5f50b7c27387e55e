"""What the transformer is given beside the latents, made once for all steps."""

from dataclasses import dataclass

from torch import Tensor

from wanvideo.models.block_reuse import Reuse
from wanvideo.models.speaker_map import SpeakerRegions


@dataclass(frozen=True, slots=True)
class Context:
    """What the cross-attention sees: text (B, 512, dim) and, for image models, picture tokens (B, 257,
    dim).
    """

    text: Tensor
    image: Tensor | None = None


@dataclass(frozen=True, slots=True)
class AudioContext:
    """Audio tokens (B, T, speakers * tokens, channels); regions only when two speakers share the picture."""

    tokens: Tensor
    regions: SpeakerRegions | None = None


@dataclass(frozen=True, slots=True)
class Pass:
    """What one of several forward passes over the same latents is given. `reuse`: what its branch keeps of
    earlier steps, with a step cache.
    """

    context: Context
    audio: AudioContext | None = None
    reuse: Reuse | None = None
