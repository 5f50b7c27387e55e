"""Whole sets of models as people have them in their folders, a family of formats each, for one task."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.checkpoint.samples import small_vocabulary
from tests.checkpoint.synthetic import companion_files
from tests.checkpoint.synthetic.companion_files import COMPANIONS, write_companion
from tests.checkpoint.synthetic.containers import write_safetensors, write_shards
from tests.checkpoint.synthetic.diffusers_folder import write_diffusers
from tests.checkpoint.synthetic.diffusion_files import packed, write_gguf_kind, write_kind
from tests.checkpoint.synthetic.diffusion_kinds import GGUF, INFINITETALK, SAFETENSORS
from tests.checkpoint.synthetic.modules import State, original
from tests.checkpoint.synthetic.names import is_audio
from tests.tiny_models import PROFILE

Parts = dict[str, State]  # component -> exact values under the module's names; InfiniteTalk is in transformer
DENSE = SAFETENSORS["official fp32"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """`write` puts the transformer, and whatever else it has, into a folder; `companions` are rows of
    COMPANIONS with their folders.
    """

    task: str
    write: Callable[[Path], Parts]
    companions: dict[str, str]


def write_family(family: Family, folder: Path) -> Parts:
    """Write a set that belongs together and has small native sizes."""
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(PROFILE)
    parts = family.write(folder)
    for name, place in family.companions.items():
        row = COMPANIONS[name]
        path, parts[row.component] = write_companion(row, folder / place)
        if row.component == "text_encoder" and not row.has_tokenizer:
            path.with_name("spiece.model").write_bytes(small_vocabulary())
    return parts


def write_dense(parts: Parts, folder: Path) -> None:
    """The same values as plain fp32 files."""
    folder.mkdir(parents=True)
    (folder / "model.json").write_text(PROFILE)
    (folder / "spiece.model").write_bytes(small_vocabulary())
    for component, state in parts.items():
        if component == "transformer":
            write_safetensors(folder / "transformer.safetensors", packed(DENSE, state)[0])
        else:
            prefix = "vision_model." if component == "image_encoder" else ""
            name = partial(str.__add__, prefix)
            companion_files.plain(folder / f"{component}.safetensors", state, name=name, dtype="F32")


def _safetensors(kind: str) -> Callable[[Path], Parts]:
    def write(folder: Path) -> Parts:
        return {
            "transformer": write_kind(SAFETENSORS[kind], folder / "diffusion_models/wan.safetensors").values
        }

    return write


def _gguf(kind: str) -> Callable[[Path], Parts]:
    return lambda folder: {"transformer": write_gguf_kind(GGUF[kind], folder / "unet/wan.gguf").values}


def _sharded(folder: Path) -> Parts:
    kind = SAFETENSORS["official bf16"]
    tensors, exact = packed(kind, original(kind.base))
    write_shards(folder / "Wan2.1-I2V", "diffusion_pytorch_model", tensors, 3)
    return {"transformer": exact}


def _beside(base: str, audio: str) -> Callable[[Path], Parts]:
    """A diffusion model and InfiniteTalk's own file."""

    def write(folder: Path) -> Parts:
        place = folder / "diffusion_models"
        whole = write_kind(SAFETENSORS[base], place / "wan_i2v.safetensors").values
        part = write_kind(INFINITETALK[audio], place / "infinitetalk_single.safetensors", is_audio).values
        return {"transformer": whole | part}

    return write


_VAE = {"VAE, official bf16": "vae"}
_TEXT = {"UMT5, ComfyUI scaled fp8": "text_encoders"}
_IMAGE = {"CLIP, ComfyUI": "clip_vision"}
_SPEECH = {"wav2vec2, without prefix": "wav2vec2"}
_ENCODERS = _VAE | _TEXT | _IMAGE
_OFFICIAL = {
    "VAE, official pickle": "Wan2.1-I2V",
    "UMT5, official pickle": "Wan2.1-I2V",
    "CLIP, official with its text tower": "Wan2.1-I2V",
}

FAMILIES = {
    "official": Family(task="image_to_video", write=_sharded, companions=_OFFICIAL),
    "ComfyUI fp8": Family(
        task="image_to_video", write=_safetensors("ComfyUI scaled v1, scale_input"), companions=_ENCODERS
    ),
    "ComfyUI v2": Family(
        task="image_to_video",
        write=_safetensors("ComfyUI v2, e5m2, input_scale, prefix"),
        companions=_ENCODERS,
    ),
    "ComfyUI NVFP4": Family(
        task="image_to_video", write=_safetensors("NVFP4 of ComfyUI"), companions=_ENCODERS
    ),
    "mixed": Family(task="image_to_video", write=_safetensors("mixed per layer"), companions=_ENCODERS),
    "ModelOpt NVFP4": Family(
        task="image_to_video", write=_safetensors("NVFP4 of ModelOpt"), companions=_ENCODERS
    ),
    "LightX2V int8": Family(
        task="image_to_video",
        write=_safetensors("LightX2V int8"),
        companions=_VAE | _IMAGE | {"UMT5, LightX2V int8": "text_encoders"},
    ),
    "LightX2V fp8": Family(task="image_to_video", write=_safetensors("LightX2V fp8"), companions=_ENCODERS),
    "GGUF": Family(
        task="text_to_video", write=_gguf("Q8_0, t2v"), companions=_VAE | {"UMT5, GGUF Q5_K": "text_encoders"}
    ),
    "GGUF talk": Family(task="talk", write=_gguf("Q6_K, merged"), companions=_ENCODERS | _SPEECH),
    "Kijai talk": Family(
        task="talk",
        write=_beside("Kijai scaled e4m3, 0 in the marker", "scaled fp8"),
        companions=_ENCODERS | _SPEECH,
    ),
    "quanto talk": Family(
        task="talk",
        write=_safetensors("quanto int8"),
        companions=_VAE | _IMAGE | {"UMT5, quanto": "text_encoders", "wav2vec2, pickle": "wav2vec2"},
    ),
    "diffusers": Family(
        task="image_to_video",
        write=lambda folder: write_diffusers(folder / "Wan2.1-diffusers"),
        companions={},
    ),
    "diffusers, text to video": Family(
        task="text_to_video",
        write=lambda folder: write_diffusers(folder / "Wan2.1-diffusers", "t2v"),
        companions={},
    ),
}
