"""Which model a file is, from the header alone: tensor names and shapes decide, file names are only hints."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wanvideo.checkpoint.header import checkpoint_files, read_tensors
from wanvideo.checkpoint.keys import find_prefix, ignored_reason
from wanvideo.checkpoint.layouts import block_count
from wanvideo.checkpoint.refusal import RefusedCheckpoint
from wanvideo.checkpoint.stored_layers import describe_weights, find_stored_layers, without_parts
from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.effective_mode import DENSE, StoredFormat
from wanvideo.errors import UserError
from wanvideo.registry import QuantizationMode

Tensors = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointFacts:
    """What a header tells.

    `component` is transformer, infinitetalk (audio layers alone), vae, text_encoder, image_encoder or
    speech_encoder; `task_hint` is t2v, i2v or talk for the first two. `in_channels` are those of the patch
    embedding, or the VAE's latent channels. `text_dim`, `image_dim` and `audio_features` (layers x channels)
    are what a transformer expects of its encoders. `dtypes` come with the largest share of bytes first.
    `num_parameters` leaves out what only tells how to read a weight. `stored` is how the weights that
    quantization is about are kept. `path` is the file, or the first of several.
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
    component = _component(shown, bare)
    own = {name: info for name, info in bare.items() if not ignored_reason(component, name)}
    try:
        layers = find_stored_layers(component, files, prefix, bare)
        weights = without_parts(bare, layers)
        details = _sizes(shown, component, {name: weights[name] for name in own.keys() & weights.keys()})
    except UserError as error:
        raise RefusedCheckpoint(error.what, component=component, task_hint=_task_hint(bare)) from error
    sizes: dict[str, int] = Counter()
    for info in tensors.values():
        sizes[info.dtype] += info.bytes
    return CheckpointFacts(
        path=files[0],
        files=files,
        component=component,
        prefix=prefix,
        dtypes=tuple(sorted(sizes, key=lambda dtype: -sizes[dtype])),
        num_parameters=sum(info.numel for info in weights.values()),
        bytes=sum(sizes.values()),
        num_layers=block_count(own),
        stored=describe_weights(component, bare, layers),
        has_tokenizer=EMBEDDED_TOKENIZER in bare,
        **details,
    )


EMBEDDED_TOKENIZER = "spiece_model"
_EMBEDDER = "condition_embedder"
_TASK_OF_CHANNELS = {16: "t2v", 36: "i2v"}
_AUDIO_PROJECTION = ("audio_proj.proj1.weight", "multitalk_audio_proj.proj1.weight")

# Tensors that only one kind of file has; the first row with one that is there decides.
_DECISIVE = (
    ("transformer", ("patch_embedding.weight",)),
    ("infinitetalk", _AUDIO_PROJECTION),
    ("vae", ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma")),
    (
        "text_encoder",
        ("blocks.0.pos_embedding.embedding.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
    ),
    (
        "image_encoder",
        ("visual.cls_embedding", "vision_model.embeddings.class_embedding", "embeddings.class_embedding"),
    ),
    (
        "speech_encoder",
        tuple(f"{p}feature_extractor.conv_layers.0.conv.weight" for p in ("", "wav2vec2.")),
    ),
)


def _component(path: Path, tensors: Tensors) -> str:
    if any(".lora_" in name or name.startswith("lora_") for name in tensors):
        raise RefusedCheckpoint(f"{path.name} is a LoRA, not a model")
    known = {name.removesuffix("._data") for name in tensors}
    for component, names in _DECISIVE:
        if not known.isdisjoint(names):
            return component
    raise RefusedCheckpoint(
        f"{path.name} is not a model of Wan 2.1 or InfiniteTalk, or it is not a whole one"
    )


def _task_hint(tensors: Tensors) -> str | None:
    """t2v or i2v by the channels of a diffusion model, even of one that is refused."""
    shape = tensors["patch_embedding.weight"].shape if "patch_embedding.weight" in tensors else ()
    return _TASK_OF_CHANNELS.get(shape[1]) if len(shape) > 1 else None


def _sizes(path: Path, component: str, tensors: Tensors) -> dict[str, Any]:
    """The fields of CheckpointFacts that depend on the kind of model."""
    if component == "transformer":
        return _transformer_sizes(path, tensors)
    if component == "infinitetalk":
        dim = _shape(path, tensors, "blocks.0.audio_cross_attn.q_linear.weight")[0]
        return {
            "dim": dim,
            "task_hint": "talk",
            "has_audio": True,
            "audio_features": _audio_features(tensors),
        }
    if component == "vae":
        return _vae_sizes(path, tensors)
    if component == "text_encoder":
        _refuse_plain_t5(path, tensors)
    names = {
        "text_encoder": ("token_embedding.weight", "shared.weight", "encoder.embed_tokens.weight"),
        "image_encoder": dict(_DECISIVE)["image_encoder"],
        "speech_encoder": tuple(f"{p}feature_projection.projection.bias" for p in ("", "wav2vec2.")),
    }[component]
    return {"dim": _shape(path, tensors, *names)[-1]}


def _transformer_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    dim, channels = _shape(path, tensors, "patch_embedding.weight", at_least=5)[:2]
    image = any(
        name in tensors for name in ("blocks.0.cross_attn.k_img.weight", "blocks.0.attn2.add_k_proj.weight")
    )
    audio = "blocks.0.audio_cross_attn.q_linear.weight" in tensors
    refusals = {
        "a Wan 2.1 VACE model": any(name.startswith("vace_blocks.") for name in tensors),
        "a first-last-frame model": any(
            name.endswith(("img_emb.emb_pos", "image_embedder.pos_embed")) for name in tensors
        ),
        "a Wan 2.2 5B model": dim == 3072,
        "a Wan Fun control model": channels == 48,
        "a Wan 2.2 image-to-video or Fun model (36 channels, no CLIP branch)": channels == 36 and not image,
    }
    for what, found in refusals.items():
        if found:
            raise UserError(
                f"{path.name} is {what}; only Wan 2.1 text-to-video and image-to-video models work here"
            )
    if channels not in _TASK_OF_CHANNELS or dim % 128:
        raise UserError(
            f"{path.name} is a Wan-like model of {dim} x {channels} channels that is not known here"
        )
    return {
        "dim": dim,
        "in_channels": channels,
        "text_dim": _shape(
            path,
            tensors,
            "text_embedding.0.weight",
            f"{_EMBEDDER}.text_embedder.linear_1.weight",
            at_least=2,
        )[1],
        "image_dim": _shape(
            path, tensors, "img_emb.proj.0.weight", f"{_EMBEDDER}.image_embedder.norm1.weight"
        )[0]
        if image
        else None,
        "audio_features": _audio_features(tensors),
        "has_image_branch": image,
        "has_audio": audio,
        "task_hint": "talk" if audio else _TASK_OF_CHANNELS[channels],
    }


def _audio_features(tensors: Tensors) -> int | None:
    """Layers x channels of the speech features of one frame; the projection sees a window of five frames."""
    found = next((tensors[name] for name in _AUDIO_PROJECTION if name in tensors), None)
    return found.shape[-1] // 5 if found is not None and found.shape else None


def _vae_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    channels = _shape(path, tensors, "conv2.weight", "post_quant_conv.weight")[0]
    if channels != 16:
        raise UserError(f"{path.name} is a VAE with {channels} channels, as in Wan 2.2; Wan 2.1 needs 16")
    dim = _shape(path, tensors, "encoder.conv1.weight", "encoder.conv_in.weight")[0]
    return {"dim": dim, "in_channels": channels}


def _refuse_plain_t5(path: Path, tensors: Tensors) -> None:
    table = "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight"
    if "encoder.block.1.layer.0.layer_norm.weight" in tensors and table not in tensors:
        raise UserError(
            f"{path.name} is a T5 encoder; Wan 2.1 needs UMT5, which has a position table in every layer"
        )


def _shape(path: Path, tensors: Tensors, *names: str, at_least: int = 1) -> tuple[int, ...]:
    """Of the first of `names` that is there, with that number of dimensions or more."""
    found = next((tensors[name].shape for name in names if name in tensors), ())
    if not found:
        raise UserError(f"{path.name} is incomplete: the tensor {names[0]} is missing")
    if len(found) < at_least:
        raise UserError(f"{path.name} is damaged: the tensor {names[0]} has too few dimensions")
    return found
