"""Bytes of each model of a job, from the headers of its files and the published structure."""

from dataclasses import dataclass

from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.checkpoint.inspect import CheckpointFacts
from wanvideo.effective_mode import DENSE
from wanvideo.memory import constants
from wanvideo.registry import QuantizationMode

ITEMSIZES = {"bf16": 2, "fp16": 2, "fp32": 4}
FP32 = 4
HALF = 2  # bytes of CLIP's fp16, and of most LoRA files


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSizes:
    """Bytes, if not said otherwise; of the diffusion model with its audio module and LoRAs.

    `block`: one of its `blocks`. `outside`: the rest, in which `text_embedding` and `image_embedding` are.
    `dense_weight`: what is made for one product where weights are dequantized; `dequantizes` says that they
    are. `block_weights`: numbers of the big linears of a block. `dim`, `ffn_dim` and `itemsize` of the
    compute dtype make activations. Of the text encoder, `text_layer` is one of `text_layers`, `text_table`
    the embedding, which stays in main memory while layers are swapped. `vae_width`: channels beside those of
    the published VAE; `vae_itemsize`: bytes of its numbers.
    """

    dim: int
    ffn_dim: int
    itemsize: int
    blocks: int
    block: int
    outside: int
    text_embedding: int = 0
    image_embedding: int = 0
    block_weights: int = 0
    dense_weight: int = 0
    dequantizes: bool = False
    low_precision: bool = False
    has_image: bool = False
    has_audio: bool = False
    text_layers: int = 0
    text_layer: int = 0
    text_table: int = 0
    image_encoder: int = 0
    speech_encoder: int = 0
    vae: int = 0
    vae_width: float = 1.0
    vae_itemsize: int = FP32

    @property
    def transformer(self) -> int:
        """All of the diffusion model."""
        return self.outside + self.blocks * self.block

    @property
    def text_encoder(self) -> int:
        """All of the text encoder."""
        return self.text_table + self.text_layers * self.text_layer


def model_sizes(
    models: ModelSet, mode: QuantizationMode, own_cores: bool, dtype: str, vae_dtype: str = "fp32"
) -> ModelSizes:
    """Of these models, with the big linears in `mode`, on its `own_cores` or without them."""
    facts, itemsize = models.transformer, ITEMSIZES[dtype]
    parts = [part for part in (facts, models.audio) if part is not None]
    blocks = max(1, facts.num_layers)
    text, image, always_fp32 = _outside_numbers(facts)
    audio = _audio_numbers(models)
    outside = (text + image + always_fp32) * FP32 + (audio + _patch_numbers(facts)) * itemsize
    stored = sum(part.bytes_in(mode, itemsize) for part in parts)
    held = stored + (text + image + always_fp32) * (FP32 - itemsize)
    outside = min(outside, held)
    weights = sum(part.stored.parameters for part in parts) // blocks
    ffn = ffn_dim(facts)
    dense, dequantizes = _dense_weight(facts, mode, own_cores, facts.dim * ffn, itemsize)
    text_layer, text_table = _text_encoder(models.text_encoder, itemsize, wide=dtype == "fp16")
    return ModelSizes(
        dim=facts.dim,
        ffn_dim=ffn,
        itemsize=itemsize,
        blocks=blocks,
        block=(held - outside + _lora_bytes(models)) // blocks,
        outside=outside,
        text_embedding=min(text * FP32, outside),
        image_embedding=min(image * FP32, outside),
        block_weights=weights,
        dense_weight=dense,
        dequantizes=dequantizes,
        low_precision=mode.fallback is not None,
        has_image=facts.has_image_branch,
        has_audio=any(part.has_audio for part in parts),
        text_layers=models.text_encoder.num_layers,
        text_layer=text_layer,
        text_table=text_table,
        image_encoder=_image_encoder(models.image_encoder, HALF if itemsize == HALF else FP32),
        speech_encoder=models.speech_encoder.num_parameters * FP32 if models.speech_encoder else 0,
        vae=models.vae.num_parameters * ITEMSIZES[vae_dtype],
        vae_width=(models.vae.dim or constants.VAE_DIM) / constants.VAE_DIM,
        vae_itemsize=ITEMSIZES[vae_dtype],
    )


def ffn_dim(facts: CheckpointFacts) -> int:
    """The width of the feed-forward: that of the published sizes, else what the linears of a block leave."""
    if facts.dim in constants.PUBLISHED_FFN:
        return constants.PUBLISHED_FFN[facts.dim]
    squares = 8 + 2 * facts.has_image_branch + 2 * facts.has_audio
    left = facts.stored.parameters // max(1, facts.num_layers) - squares * facts.dim**2
    if facts.has_audio:
        left -= 2 * facts.dim * constants.AUDIO_DIM
    return max(left // (2 * facts.dim), facts.dim)


def _outside_numbers(facts: CheckpointFacts) -> tuple[int, int, int]:
    """Numbers of what is held in fp32 beside the blocks: text embedding, image embedding, the rest."""
    dim, text, image = facts.dim, facts.text_dim or 0, facts.image_dim or 0
    text_embedding = text * dim + dim * dim + 2 * dim if text else 0
    image_embedding = image * image + image * dim + 3 * (image + dim) if image else 0
    time = constants.TIME_DIM * dim + dim * dim + 6 * dim * dim + 8 * dim
    head = dim * 64 + 64 + 2 * dim
    return text_embedding, image_embedding, time + head


def _patch_numbers(facts: CheckpointFacts) -> int:
    return 4 * (facts.in_channels or 0) * facts.dim + facts.dim


def _audio_numbers(models: ModelSet) -> int:
    """Of the audio projection: what a file has beside its linears, norms and biases."""
    facts = models.audio or models.transformer
    if not facts.has_audio:
        return 0
    small = 6  # widths of norms and biases in a block
    beside = 0
    if facts is models.transformer:
        small += 23 + 3 * facts.has_image_branch + ffn_dim(facts) // facts.dim
        beside = sum(_outside_numbers(facts)) + _patch_numbers(facts)
    inside = facts.stored.parameters + facts.num_layers * small * facts.dim
    return max(0, facts.num_parameters - inside - beside)


def _lora_bytes(models: ModelSet) -> int:
    return sum(use.facts.stamp[1] for use in models.loras)


def _dense_weight(
    facts: CheckpointFacts, mode: QuantizationMode, own_cores: bool, numbers: int, itemsize: int
) -> tuple[int, bool]:
    """(bytes made for one product of the largest linear, whether weights are dequantized for it)."""
    stored = facts.stored
    if mode.store is None and stored.weights == DENSE:
        return 0, False
    each = mode.bytes_per_weight
    if mode.store is None and stored.parameters:
        each = stored.bytes / stored.parameters
    if mode.fallback is not None:
        makes_denser_for_it = each < 1 and not own_cores
        return numbers * HALF if makes_denser_for_it else 0, makes_denser_for_it
    return numbers * itemsize * (1 if each >= 1 else 2), True


def _text_encoder(facts: CheckpointFacts, itemsize: int, *, wide: bool) -> tuple[int, int]:
    """(bytes of one layer, bytes of the embedding table). `wide`: the feed-forward's output is fp32."""
    layers = max(1, facts.num_layers)
    layer = min(int(constants.TEXT_WIDTHS * facts.dim**2), facts.num_parameters // layers)
    table = facts.num_parameters - layers * layer
    widened = min(int(constants.TEXT_FFN * facts.dim**2), layer) * (FP32 - itemsize) if wide else 0
    return layer * itemsize + widened, table * itemsize


def _image_encoder(facts: CheckpointFacts | None, itemsize: int) -> int:
    """Of the vision tower alone: some files have CLIP's text tower as well."""
    if facts is None:
        return 0
    tower = constants.IMAGE_WIDTHS * facts.dim**2 * max(1, facts.num_layers)
    return min(facts.num_parameters, int(1.01 * tower)) * itemsize
