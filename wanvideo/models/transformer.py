"""Wan 2.1's diffusion transformer with InfiniteTalk's audio branch, over diffusers' modules.

Tensor names in comments: batch B, latent frames T, tokens per frame N, all video tokens S = T * N.
What does not depend on the timestep (context, audio tokens, rotary table) is made once by the `embed_*`
methods and handed to every `forward`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from diffusers.models.transformers.transformer_wan import (
    WanTransformer3DModel,
    WanTransformerBlock,
)
from torch import Tensor, nn

from wanvideo.attention.sdpa import attend as exact_attention
from wanvideo.models.audio_attention import AudioCrossAttention
from wanvideo.models.audio_projection import AudioConfig, AudioProjection
from wanvideo.models.block_reuse import through_blocks
from wanvideo.models.chunks import in_chunks
from wanvideo.models.feed_forward import TanhGelu, WanFeedForward
from wanvideo.models.norm_rotation import norm_rotate
from wanvideo.models.passes import AudioContext, Context, Pass
from wanvideo.models.precision import FP32LayerNorm
from wanvideo.models.projections import join_projections, project, project_normed, project_out
from wanvideo.models.rms_norm import RMS_NORMS, RmsNorm, in_fp32
from wanvideo.models.rotary import Rotary, video_rotary
from wanvideo.models.speaker_map import SpeakerRegions
from wanvideo.registry import AttentionFunction, AttentionLoader, AttentionPlace

TEXT_TOKENS = 512
PATCH = (1, 2, 2)


class Block(WanTransformerBlock):
    """Self-attention, text and picture, speech, feed-forward: the order of the official InfiniteTalk
    block.
    """

    def __init__(
        self, *, dim: int, ffn_dim: int, heads: int, eps: float, image: bool, audio: AudioConfig | None
    ) -> None:
        super().__init__(dim, ffn_dim, heads, "rms_norm_across_heads", True, eps, dim if image else None)
        self.ffn.__class__, self.ffn.net[0].__class__ = WanFeedForward, TanhGelu
        self.attention: AttentionFunction = exact_attention
        self.rms_norm: RmsNorm = in_fp32
        self.chunk_tokens = 0  # rows that are worked on at a time outside the self-attention; 0 for all
        self.attn1.joined = self.attn2.joined = None  # the linears of `projections.GROUPS`, once joined
        if audio is not None:
            self.norm_x = FP32LayerNorm(dim, eps=eps)
            self.audio_cross_attn = AudioCrossAttention(dim, heads, audio.output_dim)

    def forward(
        self, x: Tensor, context: Context, modulation: Tensor, rotary: Rotary, audio: AudioContext | None
    ) -> Tensor:
        """x (B, S, dim), which is written over when `chunk_tokens` is set; modulation (B, 6, dim) in fp32."""
        shift, scale, gate, *feed_forward = (self.scale_shift_table + modulation).chunk(6, dim=1)
        regions = audio.regions if audio is not None else None
        x, positions = self._attend_video(x, (shift, scale, gate), rotary, regions)
        x = self._attend_context(x, context)
        if audio is not None:
            x = self._attend_audio(x, audio, positions)
        return self._feed_forward(x, *feed_forward)

    def _attend_video(
        self, x: Tensor, modulation: tuple[Tensor, ...], rotary: Rotary, regions: SpeakerRegions | None
    ) -> tuple[Tensor, Tensor | None]:
        """(x with the self-attention added, the tokens' positions between two speakers)."""
        shift, scale, gate = modulation

        def project_rows(x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, ...]:
            query, key, value = project_normed(self.attn1, "attn1", self.norm1, x, (scale, shift))
            turned = Rotary(cos, sin)
            # One after the other: what is in fp32 for rotating is the peak of a chunk.
            query = norm_rotate(self.rms_norm, self.attn1.norm_q, query, turned)
            key = norm_rotate(self.rms_norm, self.attn1.norm_k, key, turned)
            return query, key, self._heads(None, value)

        def add(x: Tensor, attended: Tensor) -> Tensor:
            return (x.float() + project_out(self.attn1.to_out[0], attended) * gate).type_as(x)

        query, key, value = in_chunks(project_rows, (x, rotary.cos, rotary.sin), self.chunk_tokens)
        positions = None if regions is None else regions.token_positions(query, key)
        attended = self.attention(query, key, value).flatten(2)
        del query, key, value
        return in_chunks(add, (x, attended), self.chunk_tokens, x)[0], positions

    def _attend_context(self, x: Tensor, context: Context) -> Tensor:
        """x with the attention to text and picture added, whose keys and values are made once."""
        key, value = project(self.attn2, "attn2", context.text)
        pairs = [(self._heads(self.attn2.norm_k, key), self._heads(None, value))]
        if context.image is not None:
            key, value = self.attn2.add_k_proj(context.image), self.attn2.add_v_proj(context.image)
            pairs.append((self._heads(self.attn2.norm_added_k, key), self._heads(None, value)))

        def add(x: Tensor) -> Tensor:
            query = self._heads(self.attn2.norm_q, self.attn2.to_q(self.norm2(x.float()).type_as(x)))
            attended = exact_attention(query, *pairs[0])
            for pair in pairs[1:]:
                attended = attended + exact_attention(query, *pair)
            return x + project_out(self.attn2.to_out[0], attended.flatten(2))

        return in_chunks(add, (x,), self.chunk_tokens, x)[0]

    def _attend_audio(self, x: Tensor, audio: AudioContext, positions: Tensor | None) -> Tensor:
        """x with the attention of each latent frame to its own audio tokens added."""
        frames = audio.tokens.shape[1]
        by_frame = x.unflatten(1, (frames, -1))  # (B, T, N, dim)
        rows: tuple[Tensor, ...] = (by_frame, audio.tokens)
        if positions is not None:
            rows = (*rows, positions.unflatten(1, (frames, -1)))

        def add(x: Tensor, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
            flat, places = x.flatten(1, 2), None if positions is None else positions.flatten(1)
            return (flat + self.audio_cross_attn(self.norm_x(flat), tokens, places)).view(x.shape)

        at_once = max(1, self.chunk_tokens // by_frame.shape[2]) if self.chunk_tokens else 0
        return in_chunks(add, rows, at_once, by_frame)[0].flatten(1, 2)

    def _feed_forward(self, x: Tensor, shift: Tensor, scale: Tensor, gate: Tensor) -> Tensor:
        def add(x: Tensor) -> Tensor:
            # First: `x.float()` would wait beside the hidden states, which are the peak in low precision.
            fed = self.ffn((self.norm3(x.float()) * (1 + scale) + shift).type_as(x))
            return (x.float() + fed.float() * gate).type_as(x)

        return in_chunks(add, (x,), self.chunk_tokens, x)[0]

    def _heads(self, norm: nn.RMSNorm | None, states: Tensor) -> Tensor:
        """(B, rows, dim), normed over all heads if there is a norm -> (B, rows, heads, head_dim)."""
        normed = states if norm is None else self.rms_norm(norm, states)
        return normed.unflatten(2, (self.attn1.heads, -1))


class WanTransformer(WanTransformer3DModel):
    """Predicts v = noise - x0 for latents x_t = (1 - t) x0 + t noise. `audio` adds InfiniteTalk's modules."""

    def __init__(self, *, num_layers: int, audio: AudioConfig | None = None, **config: Any) -> None:
        super().__init__(num_layers=0, **config)
        self.register_to_config(num_layers=num_layers)
        del self.rope  # its tables are buffers outside the state dict; ours are made per window
        dim = self.config.num_attention_heads * self.config.attention_head_dim
        sizes: dict[str, Any] = {
            "dim": dim,
            "ffn_dim": self.config.ffn_dim,
            "heads": self.config.num_attention_heads,
            "eps": self.config.eps,
            "image": self.config.image_dim is not None,
        }
        self.blocks = nn.ModuleList(Block(**sizes, audio=audio) for _ in range(num_layers))
        self.audio_proj = AudioProjection(audio) if audio is not None else None

    def set_attention(self, load: AttentionLoader, place: AttentionPlace) -> None:
        """Set each block's self-attention over the video tokens for the step of `place`; every other
        attention stays exact.

        To be called before each step, outside compiled blocks: they only see that the function is another.
        """
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            block.attention = load(replace(place, block=index, blocks=len(self.blocks)))

    def set_rms_norm(self, name: str) -> None:
        """Set how queries and keys are normed: a row of `RMS_NORMS`."""
        for block in self.blocks:
            assert isinstance(block, Block)
            block.rms_norm = RMS_NORMS[name]

    def set_chunks(self, tokens: int) -> None:
        """Let blocks work on so many tokens at a time, 0 for all: less memory, nearly the same speed."""
        for block in self.blocks:
            assert isinstance(block, Block)
            block.chunk_tokens = tokens

    def join_projections(self) -> dict[str, int]:
        """See `projections.join_projections`."""
        return join_projections(self.blocks)

    def embed_context(self, prompt_embeds: Tensor, image_embeds: Tensor | None = None) -> Context:
        """Prompt rows (B, rows <= 512, text_dim) and picture tokens (B, 257, image_dim) -> Context.

        Rows are padded with zeros to 512 BEFORE the text embedding, and the padding is attended: without it
        the output moves by a third.
        """
        padded = nn.functional.pad(prompt_embeds.float(), (0, 0, 0, TEXT_TOKENS - prompt_embeds.shape[1]))
        text = self.condition_embedder.text_embedder(padded).to(self.compute_dtype)
        if image_embeds is None:
            return Context(text)
        return Context(
            text, self.condition_embedder.image_embedder(image_embeds.float()).to(self.compute_dtype)
        )

    def embed_audio(self, windows: Tensor) -> Tensor:
        """Speech windows (B, speakers, frames, window, layers, channels) -> tokens (B, T, speakers * tokens,
        channels).
        """
        assert self.audio_proj is not None
        tokens = self.audio_proj(windows.to(self.compute_dtype).flatten(0, 1)).unflatten(0, windows.shape[:2])
        return tokens.transpose(1, 2).flatten(2, 3)

    def rotary(self, latents: Tensor, riflex_index: int = 0) -> Rotary:
        """The rotary table for latents (B, channels, T, height, width)."""
        grid = token_grid(latents)
        return video_rotary(grid, self.config.attention_head_dim, latents.device, riflex_index)

    def forward(
        self,
        latents: Tensor,
        timestep: Tensor,
        context: Context,
        *,
        rotary: Rotary | None = None,
        audio: AudioContext | None = None,
    ) -> Tensor:
        """latents (B, in_channels, T, height, width), timestep (B,) in 0..1000, not rounded -> v (B, 16, T,
        ...) in fp32.
        """
        return self.forward_passes(latents, timestep, [Pass(context, audio)], rotary=rotary)[0]

    def forward_passes(
        self, latents: Tensor, timestep: Tensor, passes: Sequence[Pass], *, rotary: Rotary | None = None
    ) -> list[Tensor]:
        """v of each pass over the same latents, all of them through one block before the next: where weights
        have to be brought to the card, they are brought once.
        """
        rotary = rotary or self.rotary(latents)
        patches = self.patch_embedding(latents.to(self.compute_dtype))
        time, modulation = self._embed_time(timestep)
        x = patches.flatten(2).transpose(1, 2).contiguous()
        grid = patches.shape[2:]
        del patches
        states = [x, *(x.clone() for _ in passes[1:])]
        del x

        def run(block: nn.Module, index: int, x: Tensor) -> Tensor:
            given = passes[index]
            after: Tensor = block(x, given.context, modulation, rotary, given.audio)
            return after

        through_blocks(list(self.blocks), states, [given.reuse for given in passes], run)
        shift, scale = (self.scale_shift_table + time[:, None]).chunk(2, dim=1)
        return [_unpatchify(self._project_out(x, shift, scale), grid) for x in states]

    def embed_timesteps(self, timesteps: Tensor) -> Tensor:
        """Timesteps (n,) in 0..1000 -> their embeddings (n, dim) in fp32."""
        return self._embed_time(timesteps)[0]

    def _project_out(self, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        chunk = self.blocks[0].chunk_tokens if len(self.blocks) else 0
        assert isinstance(chunk, int)
        return in_chunks(
            lambda x: self.proj_out(self.norm_out(x.float()) * (1 + scale) + shift), (x,), chunk
        )[0]

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype activations have inside the blocks."""
        return self.patch_embedding.weight.dtype

    def _embed_time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        embedder = self.condition_embedder
        time = embedder.time_embedder(_sinusoid(timestep, self.config.freq_dim))
        return time, embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))


def token_grid(latents: Tensor) -> tuple[int, int, int]:
    """(latent frames, rows, columns) of the video tokens of latents (B, channels, T, height, width)."""
    frames, height, width = latents.shape[2:]
    return frames // PATCH[0], height // PATCH[1], width // PATCH[2]


def _sinusoid(timestep: Tensor, dim: int) -> Tensor:
    """[cos | sin] of timestep * 10000^(-i / half), in float64 as the official code has it: fp32 alone costs
    5e-6.
    """
    half = dim // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device=timestep.device) / half)
    angles = timestep.double()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def _unpatchify(tokens: Tensor, grid: torch.Size) -> Tensor:
    """(B, S, patch * channels) -> (B, channels, T, height, width)."""
    patches = tokens.unflatten(1, tuple(grid)).unflatten(-1, (*PATCH, -1))  # (B, f, h, w, p, q, r, c)
    ordered = patches.permute(0, 7, 1, 4, 2, 5, 3, 6)
    return ordered.flatten(6, 7).flatten(4, 5).flatten(2, 3)
