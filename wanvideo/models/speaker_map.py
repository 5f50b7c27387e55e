"""Which video token belongs to which speaker, read from the self-attention of the block itself (InfiniteTalk,
two speakers).

Each token of the window looks at the tokens of the first latent frame; how much of that look falls on a
speaker's region gives the token a position on a line: speaker one in [0, 4], speaker two in [20, 24],
background at 12. The audio tokens sit at 2 and 22 on the same line, so that a rotary embedding draws each
region to its own voice.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

SPEAKER_RANGES = ((0.0, 4.0), (20.0, 24.0))
BACKGROUND_POSITION = 12.0
HEADS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class SpeakerRegions:
    """Token masks of the first latent frame: (3, rows * columns) of 0 / 1, in the order person 1, person 2,
    background.
    """

    masks: Tensor

    def token_positions(self, query: Tensor, key: Tensor) -> Tensor:
        """Positions (batch, tokens) of all video tokens; query and key (batch, tokens, heads, head_dim) after
        RoPE.
        """
        return _positions(self.attention_map(query, key))

    def attention_map(self, query: Tensor, key: Tensor) -> Tensor:
        """(batch, 3, tokens): share of a token's attention to the first frame that falls on each class, mean
        over heads.

        Computed in fp32 as attention whose values are the normalised masks: in bf16 some tokens would change
        sides. A few heads at a time, and no tokens x tokens matrix in memory. A class without tokens gets -1
        everywhere.
        """
        batch, tokens, heads, head_dim = query.shape
        reference = key[:, : self.masks.shape[1]]
        sizes = self.masks.sum(dim=1, keepdim=True)
        values = torch.zeros(self.masks.shape[1], head_dim, device=query.device)
        values[:, :3] = (self.masks / sizes.clamp(min=1)).T
        total = torch.zeros(batch, tokens, 3, device=query.device)
        for first in range(0, heads, HEADS_AT_ONCE):
            q, k = (
                states[:, :, first : first + HEADS_AT_ONCE].float().transpose(1, 2)
                for states in (query, reference)
            )
            shares = torch.nn.functional.scaled_dot_product_attention(
                q, k, values.expand(batch, q.shape[1], -1, -1)
            )
            total += shares[..., :3].sum(dim=1)
        shares_by_class = (total / heads).transpose(1, 2)
        return torch.where(sizes > 0, shares_by_class, -1.0)


def key_positions(tokens_per_speaker: int, speakers: int, device: torch.device) -> Tensor:
    """Positions (1, speakers * tokens) of the audio tokens: the middle of each speaker's range."""
    middles = [sum(SPEAKER_RANGES[speaker]) / 2 for speaker in range(speakers)]
    return torch.cat(
        [torch.full((1, tokens_per_speaker), middle, device=device) for middle in middles], dim=1
    )


def _positions(attention_map: Tensor) -> Tensor:
    # the smallest and largest share are taken over ALL tokens of the window, not per frame
    low = attention_map.amin(dim=2, keepdim=True)
    high = attention_map.amax(dim=2, keepdim=True)
    relative = (attention_map - low) / (high - low + 1e-8)
    candidates = [relative[:, i] * (end - start) + start for i, (start, end) in enumerate(SPEAKER_RANGES)]
    candidates.append(torch.full_like(candidates[0], BACKGROUND_POSITION))
    owner = attention_map.argmax(dim=1)
    return torch.stack(candidates, dim=1).gather(1, owner[:, None])[:, 0]
