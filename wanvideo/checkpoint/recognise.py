"""What a file is, from the names of its tensors: a part of Wan 2.1 or InfiniteTalk, or a model of others."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wanvideo.checkpoint.refusal import OTHER, RefusedCheckpoint
from wanvideo.checkpoint.tensor_info import TensorInfo

Tensors = Mapping[str, TensorInfo]
LORA, VOCAL_SEPARATOR = "lora", "vocal_separator"
AUDIO_PROJECTION = ("audio_proj.proj1.weight", "multitalk_audio_proj.proj1.weight")
IMAGE_ENCODER = (
    "visual.cls_embedding",
    "vision_model.embeddings.class_embedding",
    "embeddings.class_embedding",
)

# Tensors that only one kind of file has; the first row with one that is there decides.
_DECISIVE = (
    ("transformer", ("patch_embedding.weight",)),
    ("infinitetalk", AUDIO_PROJECTION),
    ("vae", ("decoder.middle.0.residual.0.gamma", "decoder.mid_block.resnets.0.norm1.gamma")),
    (
        "text_encoder",
        ("blocks.0.pos_embedding.embedding.weight", "encoder.block.0.layer.0.SelfAttention.q.weight"),
    ),
    ("image_encoder", IMAGE_ENCODER),
    (
        "speech_encoder",
        tuple(f"{p}feature_extractor.conv_layers.0.conv.weight" for p in ("", "wav2vec2.")),
    ),
    (VOCAL_SEPARATOR, ("band_split.to_features.0.1.weight",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """A model of others, known by a piece of a name that it alone has. `component`: what a person may have
    taken it for.
    """

    what: str
    mark: str
    component: str = OTHER


_FOREIGN = (
    Foreign(what="a VACE module, an addition to Wan models", mark="vace_blocks.0."),
    Foreign(what="a model of HunyuanVideo", mark="txt_in.individual_token_refiner."),
    Foreign(what="a Flux model", mark="double_blocks.0.img_attn."),
    Foreign(what="a Stable Diffusion 3 model", mark="joint_blocks.0.x_block."),
    Foreign(what="a Stable Diffusion XL model", mark="label_emb.0.0.weight"),
    Foreign(what="a Stable Diffusion model", mark="input_blocks.0.0.weight"),
    Foreign(what="an LTX-Video model", mark="patchify_proj.weight"),
    Foreign(
        what="a VAE for pictures, of Stable Diffusion or Flux", mark="decoder.mid.block_1.", component="vae"
    ),
    Foreign(
        what="a tiny VAE (TAEHV, taew2_1), which is for previews",
        mark="decoder.3.conv.0.weight",
        component="vae",
    ),
    Foreign(
        what="a CLIP text encoder; Wan 2.1 needs UMT5",
        mark="text_model.encoder.layers.0.",
        component="text_encoder",
    ),
)
_LORA = re.compile(r"[._](?:lora_(?:A|B|a|b|up|down)|lora\.(?:up|down)|hada_w|lokr_w)|^lora_unet_|^lycoris_")
# Other models of blocks are built of transformer_blocks, double_blocks and the like.
_WAN_BLOCK = re.compile(
    r"(?:^|\.|unet_+|lycoris_)blocks[._]\d+[._](?:self_attn|cross_attn|attn[12]|ffn|audio_cross_attn)[._]"
)


def component_of(path: Path, tensors: Tensors) -> str:
    """The component of CheckpointFacts. Raises RefusedCheckpoint that says what a file is otherwise."""
    if any(_LORA.search(name) for name in tensors):
        if any(_WAN_BLOCK.search(name) for name in tensors):
            return LORA
        raise RefusedCheckpoint(f"{path.name} is a LoRA of another model, not of Wan 2.1")
    known = {name.removesuffix("._data") for name in tensors}
    for component, names in _DECISIVE:
        if not known.isdisjoint(names):
            return component
    for foreign in _FOREIGN:
        if any(foreign.mark in name for name in tensors):
            raise RefusedCheckpoint(
                f"{path.name} is {foreign.what}, and no part of Wan 2.1", component=foreign.component
            )
    raise RefusedCheckpoint(
        f"{path.name} is not a model of Wan 2.1 or InfiniteTalk, or it is not a whole one"
    )
