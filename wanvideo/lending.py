"""One job's models, lent through the cache: what to load, on which device, in which dtype."""

import logging
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import torch

from wanvideo.checkpoint import load
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.lora_model import wear_loras
from wanvideo.checkpoint.quantized_linears import Progress
from wanvideo.checkpoint.requantized import denser_copy
from wanvideo.effective_mode import as_stored_mode
from wanvideo.model_cache import ModelCache
from wanvideo.models.contiguity import contiguity_checked
from wanvideo.models.mel_band_roformer import MelBandRoformer
from wanvideo.models.text_encoder import PromptTokenizer
from wanvideo.models.transformer import WanTransformer
from wanvideo.options import RMS_NORM
from wanvideo.quantization.stored import FORMAT_NAMES
from wanvideo.registry import QuantizationMode, quantization_modes

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from torch import nn
    from transformers import CLIPVisionModel, UMT5EncoderModel, Wav2Vec2Model

Module = TypeVar("Module", bound="nn.Module")
log = logging.getLogger(__name__)

SAY_SECONDS = 0.5  # between two words about a model that is being loaded
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobModels:
    """Each method lends one model inside a `with`; attention, swap, LoRAs and prompts are no part
    of a key.

    `quantization` is the mode that runs, on its `own_cores` or without them; `as_stored` keeps fp8 weights
    under a 4-bit one; `joins_projections` makes one linear of query, key and value. How the model is dressed
    for the job changes no weight: `rms_norm` is a row of `RMS_NORMS`, and `checks_layout` checks tensors
    while the model is lent. `say` is told how far loading is, and may raise to stop it.
    """

    files: ModelSet
    cache: ModelCache
    device: str
    dtype: torch.dtype
    quantization: str | None = None
    own_cores: bool = False
    as_stored: bool = False
    joins_projections: bool = False
    rms_norm: str = RMS_NORM
    checks_layout: bool = False
    say: Callable[[str], None] = lambda _: None

    @contextmanager
    def transformer(self) -> Iterator[WanTransformer]:
        """The diffusion model, with the audio module joined on when the task has one; blocks in the job's
        dtype, their big linears in its quantization mode. The job's LoRAs are on it, and no others.
        """
        parts = [self.files.transformer, *([self.files.audio] if self.files.audio else [])]
        mode = self._mode()
        name = f"model ({mode.name})" if mode.store is not None else "model"
        size = sum(facts.bytes_in(mode, self.dtype.itemsize) for facts in parts)
        how = (mode.name, mode.accepts, self.own_cores, self.joins_projections)
        key = self._key(name, parts, self.dtype, *how)
        lent = self.cache.use(name, key, lambda: self._load_transformer(mode, parts), expected_bytes=size)
        with lent as model:
            wear_loras(model, self.files.loras, self.say)
            with contiguity_checked(model) if self.checks_layout else nullcontext():
                model.set_rms_norm(self.rms_norm)
                yield model

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

    def vocal_separator(self) -> "AbstractContextManager[MelBandRoformer]":
        """MelBand RoFormer in fp32, which leaves memory when it comes back: it works once in a job."""
        facts = _present(self.files.vocal_separator)
        return self._lend(
            "vocal separator",
            [facts],
            torch.float32,
            lambda: load.load_vocal_separator(facts, device=self.device),
            keep=False,
        )

    def _lend(
        self,
        name: str,
        parts: list[CheckpointFacts],
        dtype: torch.dtype,
        build: Callable[[], Module],
        keep: bool = True,
    ) -> AbstractContextManager[Module]:
        size = sum(facts.num_parameters for facts in parts) * dtype.itemsize
        key = self._key(name, parts, dtype)

        def ready() -> Module:
            return build().eval().requires_grad_(False)

        return self.cache.use(name, key, ready, expected_bytes=size, keep=keep)

    def _key(
        self, name: str, parts: list[CheckpointFacts], dtype: torch.dtype, *more: Hashable
    ) -> tuple[Hashable, ...]:
        files = [file for facts in parts for file in facts.files]
        return (name, tuple((file, file.stat().st_mtime_ns) for file in files), dtype, self.device, *more)

    def _mode(self) -> QuantizationMode:
        table = quantization_modes()
        mode = as_stored_mode(table) if self.quantization is None else table[self.quantization]
        if self.own_cores and mode.cores is not None:
            mode = replace(mode, make_linear=mode.cores.make_linear)
        return replace(mode, accepts=frozenset(FORMAT_NAMES)) if self.as_stored else mode

    def _load_transformer(self, mode: QuantizationMode, parts: list[CheckpointFacts]) -> WanTransformer:
        if mode.store is not None:
            kind = mode.name.partition("_")[0].upper()
            log.info("[INFO] %s quantization mode enabled (%s)", kind, mode.name)
        if not self.as_stored:
            again = self.reporter("re-quantizing", "tensors")
            parts = [denser_copy(facts, mode, self.device, again) for facts in parts]
        model = load.load_transformer(
            parts[0],
            parts[1] if len(parts) > 1 else None,
            dtype=self.dtype,
            device=self.device,
            mode=mode,
            progress=self.reporter("loading the model", "layers"),
        )
        if self.joins_projections:
            for reason, count in model.join_projections().items():
                log.warning("[INFO] %d groups of projections are not fused: %s", count, reason)
        return model

    def reporter(self, work: str, things: str) -> Progress:
        """A callback that says how far the work is, a few times a second."""
        said = time.monotonic()

        def report(done: int, total: int) -> None:
            nonlocal said
            if time.monotonic() - said >= SAY_SECONDS:
                said = time.monotonic()
                self.say(f"{work}: {done} of {total} {things}")
                log.info("[LOAD] %s: %d of %d %s", work, done, total, things)

        return report


def _present(facts: CheckpointFacts | None) -> CheckpointFacts:
    if facts is None:
        raise ValueError("this task's model set has no such encoder")
    return facts
