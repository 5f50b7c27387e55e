"""One job's models, lent through the cache: what to load, on which device, in which dtype."""

from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import torch

from wanvideo.checkpoint import load
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.model_cache import ModelCache
from wanvideo.models.text_encoder import PromptTokenizer
from wanvideo.models.transformer import WanTransformer

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from torch import nn
    from transformers import CLIPVisionModel, UMT5EncoderModel, Wav2Vec2Model

Module = TypeVar("Module", bound="nn.Module")

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobModels:
    """Each method lends one model inside a `with`; attention, swap and prompts are no part of a key."""

    files: ModelSet
    cache: ModelCache
    device: str
    dtype: torch.dtype

    def transformer(self) -> AbstractContextManager[WanTransformer]:
        """The diffusion model, with the audio module joined on when the task has one; blocks in the job's
        dtype.
        """
        parts = [self.files.transformer, *([self.files.audio] if self.files.audio else [])]
        return self._lend(
            "model",
            parts,
            self.dtype,
            lambda: load.load_transformer(parts[0], self.files.audio, dtype=self.dtype, device=self.device),
        )

    def text_encoder(self) -> "AbstractContextManager[UMT5EncoderModel]":
        """UMT5 in the job's dtype."""
        facts = self.files.text_encoder
        return self._lend(
            "text encoder",
            [facts],
            self.dtype,
            lambda: load.load_text_encoder(facts, dtype=self.dtype, device=self.device),
        )

    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer that belongs to the text encoder's file."""
        return load.load_tokenizer(self.files.tokenizer)

    def vae(self) -> "AbstractContextManager[AutoencoderKLWan]":
        """The VAE, in fp32 as the official talk code has it."""
        facts = self.files.vae
        return self._lend("VAE", [facts], torch.float32, lambda: load.load_vae(facts, device=self.device))

    def image_encoder(self) -> "AbstractContextManager[CLIPVisionModel]":
        """CLIP's vision tower; fp16 on a card, as the official code has it."""
        facts = _present(self.files.image_encoder)
        dtype = torch.float32 if self.device == "cpu" else torch.float16
        return self._lend(
            "image encoder",
            [facts],
            dtype,
            lambda: load.load_image_encoder(facts, dtype=dtype, device=self.device),
        )

    def speech_encoder(self) -> "AbstractContextManager[Wav2Vec2Model]":
        """wav2vec2 in fp32 on the CPU, as the official code runs it."""
        facts = _present(self.files.speech_encoder)
        return self._lend("speech encoder", [facts], torch.float32, lambda: load.load_speech_encoder(facts))

    def _lend(
        self, name: str, parts: list[CheckpointFacts], dtype: torch.dtype, build: Callable[[], Module]
    ) -> AbstractContextManager[Module]:
        files = [file for facts in parts for file in facts.files]
        key: Hashable = (name, tuple((file, file.stat().st_mtime_ns) for file in files), dtype, self.device)
        size = sum(facts.num_parameters for facts in parts) * dtype.itemsize
        return self.cache.use(name, key, lambda: build().eval().requires_grad_(False), expected_bytes=size)


def _present(facts: CheckpointFacts | None) -> CheckpointFacts:
    if facts is None:
        raise ValueError("this task's model set has no such encoder")
    return facts
