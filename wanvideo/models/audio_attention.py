"""InfiniteTalk's attention from the video to the speech."""

from torch import Tensor, nn

from wanvideo.attention.sdpa import attend as exact_attention
from wanvideo.models.rotary import line_rotary
from wanvideo.models.speaker_map import key_positions


class AudioCrossAttention(nn.Module):
    """The tokens of a latent frame attend to the audio tokens of that frame alone."""

    def __init__(self, dim: int, heads: int, audio_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_linear = nn.Linear(dim, dim)
        self.kv_linear = nn.Linear(audio_dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, hidden_states: Tensor, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """(B, S, dim) x (B, T, K, audio_dim) -> (B, S, dim); `positions` (B, S) tell two speakers' regions
        apart.
        """
        frames = tokens.shape[1]
        query = self.q_linear(hidden_states).unflatten(-1, (self.heads, -1))  # (B, S, heads, head_dim)
        key, value = (
            self.kv_linear(tokens).unflatten(-1, (2, self.heads, -1)).unbind(3)
        )  # (B, T, K, heads, head_dim)
        key, value = key.flatten(0, 1), value.flatten(0, 1)
        if positions is not None:
            query = line_rotary(positions, query.shape[-1]).rotate(query)
            key = line_rotary(key_positions(key.shape[1] // 2, 2, key.device), key.shape[-1]).rotate(key)
        attended = exact_attention(
            query.unflatten(1, (frames, -1)).flatten(0, 1), key, value
        )  # (B * T, N, heads, ...)
        return self.proj(attended.flatten(2).reshape(hidden_states.shape))
