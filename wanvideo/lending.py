"""One job's models, lent through the cache: what to load, on which device, in which dtype."""

import logging
import re
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch

from wanvideo.checkpoint import load
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.checkpoint.lora_model import wear_loras
from wanvideo.checkpoint.quantized_linears import Home
from wanvideo.checkpoint.requantized import denser_copy
from wanvideo.compiled_blocks import compiled_blocks, compiled_rows
from wanvideo.effective_mode import as_stored_mode
from wanvideo.loan import Loan, ModelKey, Room, model_key
from wanvideo.memory_plan import (
    IMAGE_ENCODER,
    TEXT_ENCODER,
    TRANSFORMER,
    VAE_DECODE,
    VAE_ENCODE,
    MemoryPlan,
    SwapPlan,
)
from wanvideo.model_cache import ModelCache
from wanvideo.models.contiguity import contiguity_checked
from wanvideo.models.mel_band_roformer import MelBandRoformer
from wanvideo.models.text_encoder import PromptTokenizer, word_tables
from wanvideo.models.transformer import WanTransformer
from wanvideo.options import RMS_NORM
from wanvideo.placement.residence import Residence
from wanvideo.plan import GenerationPlan
from wanvideo.quantization.stored import FORMAT_NAMES
from wanvideo.registry import QuantizationMode, quantization_modes
from wanvideo.request import AS_STORED
from wanvideo.stage_clock import reporter

if TYPE_CHECKING:
    from diffusers import AutoencoderKLWan
    from torch import nn
    from transformers import CLIPVisionModel, UMT5EncoderModel, Wav2Vec2Model

Module = TypeVar("Module", bound="nn.Module")
log = logging.getLogger(__name__)

_VAE = "VAE"
_PLAIN = Loan()
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobModels:
    """Each method lends one model inside a `with`; attention, swap, LoRAs and prompts are no part
    of a key.

    `quantization` is the mode that runs, on its `own_cores` or without them; `as_stored` keeps fp8 weights
    under a 4-bit one; `joins_projections` makes one linear of query, key and value. How the model is dressed
    for the job changes no weight: `rms_norm` is a row of `RMS_NORMS`, `checks_layout` checks tensors and
    `compiles` compiles blocks, or the VAE's work on rows, while they are lent. `memory` tells where weights
    wait; `working` how many bytes each piece of work takes on the card beside them. `say` is told how far
    loading is, and may raise to stop it.
    """

    files: ModelSet
    cache: ModelCache
    device: str
    dtype: torch.dtype
    vae_dtype: torch.dtype = torch.float32
    quantization: str | None = None
    own_cores: bool = False
    as_stored: bool = False
    joins_projections: bool = False
    rms_norm: str = RMS_NORM
    checks_layout: bool = False
    compiles: bool = False
    memory: MemoryPlan = MemoryPlan()
    working: Mapping[str, int] = field(default_factory=dict)
    say: Callable[[str], None] = lambda _: None

    @contextmanager
    def transformer(self) -> Iterator[WanTransformer]:
        """The diffusion model, with the audio module joined on when the task has one; blocks in the job's
        dtype, their big linears in its quantization mode, where the memory plan has them. The job's LoRAs are
        on it, and no others.
        """
        parts, mode = self._parts(), self._mode()
        lent = self.cache.use(
            _model_name(mode),
            self._transformer_key(mode),
            lambda: self._load_transformer(mode, parts),
            Loan(
                room=self._transformer_room(mode, parts),
                swap=self.memory.transformer,
                aside=self.memory.steps_aside,
            ),
            dress=lambda model: wear_loras(model, self.files.loras, self.say),
        )
        with lent as model, ExitStack() as worn:
            if self.checks_layout:
                worn.enter_context(contiguity_checked(model))
            if self.compiles:
                worn.enter_context(compiled_blocks(model.blocks, self.say))
            model.set_rms_norm(self.rms_norm)
            model.set_chunks(self.memory.chunk_tokens)
            yield model

    def settle_again(self, transformer: WanTransformer) -> None:
        """The transformer, which is lent, goes on as this memory plan has it."""
        self.cache.settle_again(self._transformer_key(self._mode()), self.memory.transformer)
        transformer.set_chunks(self.memory.chunk_tokens)

    def put_embeddings_away(self, transformer: WanTransformer) -> None:
        """What embeds the text and the picture leaves the card, if the plan says so, until the model is lent
        again.
        """
        embedder = transformer.condition_embedder
        if self.memory.text_embedding_leaves:
            embedder.text_embedder.to("cpu")
        if self.memory.image_embedding_leaves and embedder.image_embedder is not None:
            embedder.image_embedder.to("cpu")

    def text_encoder(self) -> "AbstractContextManager[UMT5EncoderModel]":
        """UMT5 in the job's dtype; its layers may be streamed, its table of words then stays in main
        memory.
        """
        facts, swap = self.files.text_encoder, self.memory.text_encoder

        def build() -> "Residence[UMT5EncoderModel]":
            model = load.load_text_encoder(facts, dtype=self.dtype, device=self._first_place(swap))
            tables = word_tables(model)
            return Residence(model, self.device, blocks=list(model.encoder.block), lookups=tables)

        return self._lend(TEXT_ENCODER, facts, self.dtype, build, Loan(swap=swap, waits=False))

    def tokenizer(self) -> PromptTokenizer:
        """The tokenizer that belongs to the text encoder's file."""
        return load.load_tokenizer(self.files.tokenizer)

    @contextmanager
    def vae(self, work: str = VAE_ENCODE) -> Iterator["AutoencoderKLWan"]:
        """The VAE for `work`: VAE_ENCODE or VAE_DECODE."""
        facts, dtype, device = self.files.vae, self.vae_dtype, self.device
        build = partial(load.load_vae, facts, dtype=dtype, device=device)
        lent = self._lend(work, facts, dtype, lambda: self._here(build()))
        with lent as model, compiled_rows(model, self.say) if self.compiles else nullcontext():
            yield model

    def image_encoder(self) -> "AbstractContextManager[CLIPVisionModel]":
        """CLIP's vision tower; fp16 on a card, as the official code has it."""
        facts = _present(self.files.image_encoder)
        dtype = torch.float32 if self.device == "cpu" else torch.float16

        def build() -> "Residence[CLIPVisionModel]":
            return self._here(load.load_image_encoder(facts, dtype=dtype, device=self.device))

        return self._lend(IMAGE_ENCODER, facts, dtype, build, Loan(waits=False))

    def speech_encoder(self) -> "AbstractContextManager[Wav2Vec2Model]":
        """wav2vec2 in fp32 on the CPU, as the official code runs it."""
        facts = _present(self.files.speech_encoder)

        def build() -> "Residence[Wav2Vec2Model]":
            return Residence(load.load_speech_encoder(facts))

        return self._lend("speech encoder", facts, torch.float32, build)

    def vocal_separator(self) -> "AbstractContextManager[MelBandRoformer]":
        """MelBand RoFormer in fp32, which leaves memory when it comes back: it works once in a job."""
        facts = _present(self.files.vocal_separator)

        def build() -> Residence[MelBandRoformer]:
            return self._here(load.load_vocal_separator(facts, device=self.device))

        return self._lend("vocal separator", facts, torch.float32, build, Loan(keep=False))

    def _here(self, model: Module) -> Residence[Module]:
        return Residence(model, self.device)

    def _first_place(self, swap: SwapPlan) -> str:
        """Where a model is loaded to that is settled afterwards."""
        return "cpu" if swap.blocks else self.device

    def _lend(
        self,
        work: str,
        facts: CheckpointFacts,
        dtype: torch.dtype,
        build: Callable[[], Residence[Module]],
        loan: Loan = _PLAIN,
    ) -> AbstractContextManager[Module]:
        """`loan` without its room."""
        name = _VAE if work in (VAE_ENCODE, VAE_DECODE) else work
        share = loan.swap.blocks / max(1, facts.num_layers)
        room = self._room(facts.num_parameters * dtype.itemsize, share, work)
        key = self._key(name, [facts], dtype)
        return self.cache.use(name, key, build, replace(loan, room=room))

    def _room(self, weights: int, share: float, work: str) -> Room:
        """Of weights that wait in main memory to that `share`."""
        if self.device == "cpu":
            return Room(host_bytes=weights)
        waiting = int(weights * share)
        return Room(
            device_bytes=weights - waiting, host_bytes=waiting, working_bytes=self.working.get(work, 0)
        )

    def _transformer_room(self, mode: QuantizationMode, parts: list[CheckpointFacts]) -> Room:
        weights = sum(facts.bytes_in(mode, self.dtype.itemsize) for facts in parts)
        return self._room(weights, self.memory.transformer.blocks / parts[0].num_layers, TRANSFORMER)

    def _parts(self) -> list[CheckpointFacts]:
        return [self.files.transformer, *([self.files.audio] if self.files.audio else [])]

    def _transformer_key(self, mode: QuantizationMode) -> ModelKey:
        how = (mode.name, mode.accepts, self.own_cores, self.joins_projections)
        return self._key(_model_name(mode), self._parts(), self.dtype, *how)

    def _key(self, name: str, parts: list[CheckpointFacts], dtype: torch.dtype, *more: Hashable) -> ModelKey:
        files = [file for facts in parts for file in facts.files]
        return model_key(files, name, dtype, self.device, *more)

    def _mode(self) -> QuantizationMode:
        table = quantization_modes()
        mode = as_stored_mode(table) if self.quantization is None else table[self.quantization]
        if self.own_cores and mode.cores is not None:
            mode = replace(mode, make_linear=mode.cores.make_linear)
        return replace(mode, accepts=frozenset(FORMAT_NAMES)) if self.as_stored else mode

    def _load_transformer(
        self, mode: QuantizationMode, parts: list[CheckpointFacts]
    ) -> Residence[WanTransformer]:
        if mode.store is not None:
            kind = mode.name.partition("_")[0].upper()
            log.info("[INFO] %s quantization mode enabled (%s)", kind, mode.name)
        if not self.as_stored:
            again = reporter(self.say, "re-quantizing", "tensors")
            parts = [denser_copy(facts, mode, self.device, again) for facts in parts]
        model = load.load_transformer(
            parts[0],
            parts[1] if len(parts) > 1 else None,
            dtype=self.dtype,
            device="cpu" if self.memory.quantizes_on_host else self.device,
            mode=mode,
            home=self._home(parts[0].num_layers),
            progress=reporter(self.say, "loading the model", "layers"),
        )
        if self.joins_projections:
            for reason, count in model.join_projections().items():
                log.warning("[INFO] %d groups of projections are not fused: %s", count, reason)
        return Residence(model, self.device, blocks=list(model.blocks))

    def _home(self, blocks: int) -> Home:
        """Swapped blocks go to main memory one weight after the other: they may not all fit on the card."""
        first = blocks - self.memory.transformer.blocks
        own = "cpu" if self.memory.quantizes_on_host else self.device
        return lambda name: "cpu" if block_number(name) >= first else own


def job_models(plan: GenerationPlan, cache: ModelCache, say: Callable[[str], None]) -> JobModels:
    """The models of a plan, out of the cache."""
    return JobModels(
        files=plan.models,
        cache=cache,
        device=plan.device,
        dtype=DTYPES[plan.dtype],
        vae_dtype=DTYPES[plan.vae_dtype],
        quantization=plan.quantization,
        own_cores=plan.own_cores,
        as_stored=plan.options.requantize == AS_STORED,
        joins_projections=plan.fuse_qkv_projections,
        rms_norm=plan.options.rms_norm_function,
        checks_layout=plan.options.force_contiguous_tensors,
        compiles=plan.compile.blocks,
        memory=plan.memory,
        working=plan.forecast.working,
        say=say,
    )


def _model_name(mode: QuantizationMode) -> str:
    return f"model ({mode.name})" if mode.store is not None else "model"


def block_number(name: str) -> int:
    """Of the block that a tensor of this name belongs to; -1 outside the blocks."""
    found = re.match(r"blocks\.(\d+)\.", name)
    return int(found[1]) if found else -1


def _present(facts: CheckpointFacts | None) -> CheckpointFacts:
    if facts is None:
        raise ValueError("this task's model set has no such encoder")
    return facts
