"""Which model a file is, from the header alone: tensor names and shapes decide, file names are only hints."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.companion_facts import SIZES
from wanvideo.checkpoint.header import checkpoint_files, read_metadata, read_tensors
from wanvideo.checkpoint.keys import find_prefix, ignored_reason
from wanvideo.checkpoint.layouts import TABLES, block_count
from wanvideo.checkpoint.lora_recipes import recipe_of
from wanvideo.checkpoint.recognise import LORA, Tensors, component_of
from wanvideo.checkpoint.refusal import RefusedCheckpoint
from wanvideo.checkpoint.stored_layers import describe_weights, find_stored_layers, without_parts
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.checkpoint.transformer_facts import infinitetalk_sizes, task_hint, transformer_sizes
from wanvideo.effective_mode import DENSE, StoredFormat
from wanvideo.errors import UserError
from wanvideo.registry import QuantizationMode

EMBEDDED_TOKENIZER = "spiece_model"
_SIZES = {**SIZES, "transformer": transformer_sizes, "infinitetalk": infinitetalk_sizes}


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """What a header tells.

    `component` is transformer, infinitetalk (audio layers alone), vae, text_encoder, image_encoder,
    speech_encoder, vocal_separator or lora; `task_hint` is t2v, i2v or talk for the first two, and for a LoRA
    where its shapes tell. `in_channels` are those of the patch embedding, or the VAE's latent channels.
    `text_dim`, `image_dim` and `audio_features` (layers x channels) are what a transformer expects of its
    encoders. `rank` is a LoRA's, `bands` are a vocal separator's. `step_distilled`: name or metadata say that
    it was made for a few steps. `dtypes` come with the largest share of bytes first. `num_parameters` leaves
    out what only tells how to read a weight. `stored` is how the weights that quantization is about are kept.
    `path` is the file, or the first of several.
    """

    path: Path
    files: tuple[Path, ...]
    component: str
    task_hint: str | None = None
    in_channels: int | None = None
    dim: int
    num_layers: int
    text_dim: int | None = None
    image_dim: int | None = None
    audio_features: int | None = None
    rank: int | None = None
    bands: int | None = None
    step_distilled: bool = False
    prefix: str = ""
    dtypes: tuple[str, ...]
    num_parameters: int
    bytes: int
    has_audio: bool = False
    has_image_branch: bool = False
    has_tokenizer: bool = False
    stored: StoredFormat = StoredFormat()

    def bytes_in(self, mode: QuantizationMode, itemsize: int = 0) -> int:
        """What its weights take in that mode: what quantization is not about with `itemsize` bytes for each
        number, or as in the file when that is 0.
        """
        rest = (self.num_parameters - self.stored.parameters) * itemsize or self.bytes - self.stored.bytes
        if mode.store is not None:
            return rest + int(self.stored.parameters * mode.bytes_per_weight)
        is_dense = self.stored.weights == DENSE and itemsize
        return rest + (self.stored.parameters * itemsize if is_dense else self.stored.bytes)


def inspect_checkpoint(path: Path) -> CheckpointFacts:
    """Facts about the model at `path` (a file, a shard, an index, or a folder with one model).

    Raises UserError with a sentence that says what the file is, if it is damaged, unknown or can't be used.
    """
    files = checkpoint_files(path)
    tensors = {name: info for file in files for name, info in read_tensors(file).items()}
    prefix = find_prefix(tensors)
    bare = {name.removeprefix(prefix): info for name, info in tensors.items()}
    shown = files[0].parent if len(files) > 1 else files[0]
    component = component_of(shown, bare)
    common = {
        "path": files[0],
        "files": files,
        "component": component,
        "prefix": prefix,
        "dtypes": _dtypes(tensors),
        "bytes": sum(info.bytes for info in tensors.values()),
        "step_distilled": recipe_of(shown.stem, read_metadata(files[0])) is not None,
    }
    try:
        told = _lora(shown, bare) if component == LORA else _model(shown, component, (files, prefix), bare)
    except UserError as error:
        hint = task_hint(bare)
        raise RefusedCheckpoint(
            error.what, value=error.value, fix=error.fix, component=component, task_hint=hint
        ) from error
    return CheckpointFacts(**{**common, **told})


def _dtypes(tensors: Tensors) -> tuple[str, ...]:
    sizes: dict[str, int] = Counter()
    for info in tensors.values():
        sizes[info.dtype] += info.bytes
    return tuple(sorted(sizes, key=lambda dtype: -sizes[dtype]))


def _lora(path: Path, tensors: Tensors) -> dict[str, Any]:
    parameters = sum(info.numel for info in tensors.values())
    return {"num_parameters": parameters, **SIZES[LORA](path, tensors)}


def _model(
    path: Path, component: str, source: tuple[tuple[Path, ...], str], tensors: Mapping[str, TensorInfo]
) -> dict[str, Any]:
    """`source`: the files and the wrapper prefix of their names."""
    layers = find_stored_layers(component, *source, tensors)
    weights = without_parts(tensors, layers)
    own = {name: info for name, info in weights.items() if not ignored_reason(component, name)}
    return {
        "num_layers": block_count(own),
        "num_parameters": sum(info.numel for info in weights.values()),
        "stored": describe_weights(component, tensors, layers) if component in TABLES else StoredFormat(),
        "has_tokenizer": EMBEDDED_TOKENIZER in tensors,
        **_SIZES[component](path, own),
    }
