"""Sizes of a diffusion model from its header, and which of Wan's relatives is none that works here."""

from pathlib import Path
from typing import Any

from wanvideo.checkpoint.recognise import AUDIO_PROJECTION, Tensors
from wanvideo.checkpoint.tensor_shapes import shape_of_first
from wanvideo.errors import UserError

TASK_OF_CHANNELS = {16: "t2v", 36: "i2v"}
_EMBEDDER = "condition_embedder"
_OTHER_BRANCHES = {  # start of a name -> what has it
    "vace_blocks.": "a Wan 2.1 VACE model",
    "face_adapter.": "a Wan 2.2 Animate model",
    "casual_audio_encoder.": "a Wan 2.2 speech-to-video model",
    "control_adapter.": "a Wan Fun camera model",
}


def task_hint(tensors: Tensors) -> str | None:
    """t2v or i2v by the channels of a diffusion model, even of one that is refused."""
    shape = tensors["patch_embedding.weight"].shape if "patch_embedding.weight" in tensors else ()
    return TASK_OF_CHANNELS.get(shape[1]) if len(shape) > 1 else None


def transformer_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Fields of CheckpointFacts. Raises UserError for a model of Wan that is not 2.1's T2V or I2V."""
    dim, channels = shape_of_first(path, tensors, "patch_embedding.weight", at_least=5)[:2]
    image = any(
        name in tensors for name in ("blocks.0.cross_attn.k_img.weight", "blocks.0.attn2.add_k_proj.weight")
    )
    _refuse_relatives(path, tensors, (dim, channels), image)
    audio = "blocks.0.audio_cross_attn.q_linear.weight" in tensors
    text = ("text_embedding.0.weight", f"{_EMBEDDER}.text_embedder.linear_1.weight")
    picture = ("img_emb.proj.0.weight", f"{_EMBEDDER}.image_embedder.norm1.weight")
    return {
        "dim": dim,
        "in_channels": channels,
        "text_dim": shape_of_first(path, tensors, *text, at_least=2)[1],
        "image_dim": shape_of_first(path, tensors, *picture)[0] if image else None,
        "audio_features": audio_features(tensors),
        "has_image_branch": image,
        "has_audio": audio,
        "task_hint": "talk" if audio else TASK_OF_CHANNELS[channels],
    }


def infinitetalk_sizes(path: Path, tensors: Tensors) -> dict[str, Any]:
    """Fields of CheckpointFacts for audio layers alone."""
    dim = shape_of_first(path, tensors, "blocks.0.audio_cross_attn.q_linear.weight")[0]
    return {"dim": dim, "task_hint": "talk", "has_audio": True, "audio_features": audio_features(tensors)}


def audio_features(tensors: Tensors) -> int | None:
    """Layers x channels of the speech features of one frame; the projection sees a window of five frames."""
    found = next((tensors[name] for name in AUDIO_PROJECTION if name in tensors), None)
    return found.shape[-1] // 5 if found is not None and found.shape else None


def _refuse_relatives(path: Path, tensors: Tensors, size: tuple[int, int], image: bool) -> None:
    dim, channels = size
    found = [what for start, what in _OTHER_BRANCHES.items() if any(n.startswith(start) for n in tensors)]
    if any(name.endswith(("img_emb.emb_pos", "image_embedder.pos_embed")) for name in tensors):
        found.append("a first-last-frame model")
    if dim == 3072:
        found.append("a Wan 2.2 5B model")
    if channels == 48:
        found.append("a Wan Fun control model")
    if channels == 36 and not image:
        found.append("a Wan 2.2 image-to-video or Fun model (36 channels, no CLIP branch)")
    if found:
        raise UserError(
            f"{path.name} is {found[0]}; only Wan 2.1 text-to-video and image-to-video models work here"
        )
    if channels not in TASK_OF_CHANNELS or dim % 128:
        raise UserError(
            f"{path.name} is a Wan-like model of {dim} x {channels} channels that is not known here"
        )
