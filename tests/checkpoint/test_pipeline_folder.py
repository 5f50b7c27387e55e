"""Folders of diffusers: every part is found and loads as saved, and goes with the parts beside it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from tests.checkpoint.model_files import write
from tests.checkpoint.quantized_files import SIZES
from wanvideo.checkpoint.catalog import resolve_models
from wanvideo.checkpoint.folders import describe_folder, model_name
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_image_encoder, load_text_encoder, load_transformer, load_vae
from wanvideo.errors import UserError
from wanvideo.request import IMAGE_TO_VIDEO

LOADERS: dict[str, Any] = {
    "transformer": load_transformer,
    "vae": load_vae,
    "text_encoder": load_text_encoder,
    "image_encoder": load_image_encoder,
}


def networks() -> dict[str, Any]:
    torch.manual_seed(0)
    text: dict[str, Any] = {"vocab_size": 64, "d_model": 24, "d_kv": 8, "d_ff": 48, "num_layers": 2}
    clip: dict[str, Any] = {"hidden_size": 80, "intermediate_size": 64, "num_hidden_layers": 2}
    return {
        "transformer": WanTransformer3DModel(**SIZES),
        "vae": AutoencoderKLWan(base_dim=4, decoder_base_dim=8, num_res_blocks=1),
        "text_encoder": UMT5EncoderModel(UMT5Config(**text, num_heads=4, feed_forward_proj="gated-gelu")),
        "image_encoder": CLIPVisionModel(
            CLIPVisionConfig(**clip, num_attention_heads=1, image_size=28, patch_size=14, hidden_act="gelu")
        ),
    }


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, nn.Module]]:
    """Some parts in shards with an index, as the published ones are."""
    folder = tmp_path_factory.mktemp("models") / "Wan2.1-I2V-14B-480P-Diffusers"
    parts = networks()
    for name, module in parts.items():
        module.save_pretrained(folder / name, max_shard_size="200KB")
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "spiece.model").write_bytes(b"pieces")
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "WanImageToVideoPipeline"}))
    return folder, parts


def test_every_part_is_found_and_loads(saved: tuple[Path, dict[str, nn.Module]]) -> None:
    folder, parts = saved
    usable, refused = describe_folder([folder.parent])
    assert {facts.component for facts in usable} == set(parts) and not refused
    assert any(len(facts.files) > 1 for facts in usable)
    for facts in usable:
        assert inspect_checkpoint(folder / facts.component) == facts
        loaded = LOADERS[facts.component](facts, dtype=torch.float32).state_dict()
        wanted = parts[facts.component].state_dict()
        assert loaded.keys() == wanted.keys()
        assert all(torch.equal(loaded[name], wanted[name]) for name in wanted)


def test_the_folder_names_its_parts(saved: tuple[Path, dict[str, nn.Module]]) -> None:
    with pytest.raises(UserError, match="in parts; .*: image_encoder, text_encoder, transformer, vae"):
        inspect_checkpoint(saved[0])


def test_parts_go_with_those_beside_them(saved: tuple[Path, dict[str, nn.Module]]) -> None:
    """Though a fuller VAE and text encoder lie in the same models folder."""
    folder, _ = saved
    vae = {
        "decoder.middle.0.residual.0.gamma": [800],
        "conv2.weight": [16, 1600],
        "encoder.conv1.weight": [800, 300],
    }
    text = {"blocks.0.pos_embedding.embedding.weight": [32, 1], "token_embedding.weight": [90000, 24]}
    write(folder.parent / "vae" / "wan_2.1_vae.safetensors", vae)
    write(folder.parent / "text_encoders" / "umt5.safetensors", text)
    (folder.parent / "text_encoders" / "spiece.model").write_bytes(b"pieces")
    for wanted in (None, folder.name, str(folder)):
        chosen = resolve_models(IMAGE_TO_VIDEO, wanted, [folder.parent])
        assert chosen.name == folder.name == model_name(chosen.transformer)
        assert {facts.path.parents[1] for facts in chosen.checkpoints} == {folder}
        assert chosen.tokenizer == folder / "tokenizer" / "spiece.model"
