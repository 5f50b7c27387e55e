"""A whole model as diffusers keeps it: model_index.json and a folder for each part."""

import json
from pathlib import Path

from tests.checkpoint.samples import small_vocabulary
from tests.checkpoint.synthetic.containers import floats, kept, write_safetensors, write_shards
from tests.checkpoint.synthetic.modules import DIM, LAYERS, State, original

_CLASSES = {
    "transformer": ("diffusers", "WanTransformer3DModel"),
    "vae": ("diffusers", "AutoencoderKLWan"),
    "text_encoder": ("transformers", "UMT5EncoderModel"),
    "image_encoder": ("transformers", "CLIPVisionModel"),
}
_PREFIX = {"image_encoder": "vision_model."}


def write_diffusers(folder: Path, base: str = "i2v") -> dict[str, State]:
    """Write the folder; part -> exact values. Transformer and text encoder are in two shards each."""
    parts = {part: original(base if part == "transformer" else part) for part in _CLASSES}
    if base == "t2v":
        del parts["image_encoder"]
    pipeline = "WanPipeline" if base == "t2v" else "WanImageToVideoPipeline"
    index = {
        "_class_name": pipeline,
        "_diffusers_version": "0.33.0",
        "tokenizer": ["transformers", "T5Tokenizer"],
    }
    exact = {}
    for part, state in parts.items():
        index[part] = list(_CLASSES[part])
        exact[part] = _write_part(folder / part, part, state)
    folder.joinpath("model_index.json").write_text(json.dumps(index))
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer/spiece.model").write_bytes(small_vocabulary())
    (folder / "scheduler").mkdir()
    (folder / "scheduler/scheduler_config.json").write_text('{"_class_name": "UniPCMultistepScheduler"}')
    return exact


def _write_part(folder: Path, part: str, state: State) -> State:
    dtype = "F32" if part == "vae" else "BF16"
    tensors = {_PREFIX.get(part, "") + name: floats(values, dtype) for name, values in state.items()}
    stem = "diffusion_pytorch_model" if _CLASSES[part][0] == "diffusers" else "model"
    if part in ("transformer", "text_encoder"):
        write_shards(folder, stem, tensors, 2)
    else:
        write_safetensors(folder / f"{stem}.safetensors", tensors, {"format": "pt"})
    config: dict[str, object] = {"_class_name": _CLASSES[part][1]}
    if part == "transformer":
        config |= {"num_layers": LAYERS, "num_attention_heads": DIM // 128, "attention_head_dim": 128}
    (folder / "config.json").write_text(json.dumps(config))
    return {name: kept(values, dtype) for name, values in state.items()}
