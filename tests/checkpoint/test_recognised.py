"""Files that are no part of a Wan 2.1 model are named as what they are; LoRAs and the separator are facts."""

from pathlib import Path

import pytest

from tests.checkpoint.samples import write_header
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.refusal import RefusedCheckpoint

Shapes = dict[str, list[int]]
OTHERS: list[tuple[str, str, Shapes]] = [
    ("a VACE module", "other", {"vace_blocks.0.before_proj.weight": [8, 8]}),
    (
        "a model of HunyuanVideo",
        "other",
        {
            "txt_in.individual_token_refiner.blocks.0.norm1.weight": [8],
            "double_blocks.0.img_attn.qkv.weight": [8, 8],
        },
    ),
    ("a Flux model", "other", {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": [8, 8]}),
    ("Stable Diffusion 3", "other", {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": [8, 8]}),
    (
        "Stable Diffusion XL",
        "other",
        {
            "model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3],
            "model.diffusion_model.label_emb.0.0.weight": [8, 8],
            "first_stage_model.decoder.mid.block_1.norm1.weight": [8],
        },
    ),
    (
        "Stable Diffusion model",
        "other",
        {"model.diffusion_model.input_blocks.0.0.weight": [8, 4, 3, 3], "a": [1]},
    ),
    ("LTX-Video", "other", {"model.diffusion_model.patchify_proj.weight": [8, 8]}),
    ("a VAE for pictures", "vae", {"decoder.mid.block_1.norm1.weight": [8]}),
    (
        "a tiny VAE .TAEHV, taew2_1.",
        "vae",
        {"encoder.0.weight": [64, 3, 3, 3], "decoder.3.conv.0.weight": [256, 512, 3, 3]},
    ),
    (
        "a CLIP text encoder; Wan 2.1 needs UMT5",
        "text_encoder",
        {"text_model.encoder.layers.0.mlp.fc1.bias": [8]},
    ),
    (
        "CLIP ViT-bigG .clip_vision_g., 1664 wide",
        "image_encoder",
        {"vision_model.embeddings.class_embedding": [1664]},
    ),
    ("CLIP ViT-L .clip_vision_l., 1024 wide", "image_encoder", {"visual.cls_embedding": [1, 1, 1024]}),
    (
        "a Wan 2.2 Animate model",
        "transformer",
        {"patch_embedding.weight": [128, 36, 1, 2, 2], "face_adapter.a": [1]},
    ),
    (
        "is a BS-RoFormer",
        "vocal_separator",
        {f"band_split.to_features.{band}.1.weight": [8, 8] for band in range(62)},
    ),
    (
        "a LoRA of another model",
        "other",
        {"transformer.transformer_blocks.0.attn1.to_k.lora_A.weight": [4, 8]},
    ),
    (
        "a LoRA of another model",
        "other",
        {"lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_k.lora_down.weight": [4, 8]},
    ),
]


@pytest.mark.parametrize(("sentence", "component", "shapes"), OTHERS)
def test_what_is_no_part_of_wan_is_named(
    sentence: str, component: str, shapes: Shapes, tmp_path: Path
) -> None:
    tensors = {name: ("F16", shape) for name, shape in shapes.items()}
    with pytest.raises(RefusedCheckpoint, match=f"a.safetensors is .*{sentence}|{sentence}") as caught:
        inspect_checkpoint(write_header(tmp_path / "a.safetensors", tensors))
    assert caught.value.component == component


LORAS = [
    "diffusion_model.blocks.1.self_attn.q.lora_A.weight",
    "blocks.1.self_attn.q.lora_down.weight",
    "base_model.model.blocks.1.self_attn.q.lora_A.default.weight",
    "transformer.blocks.1.attn1.to_q.lora_A.weight",
    "lora_unet_blocks_1_self_attn_q.lora_down.weight",
    "lora_unet__blocks_1_self_attn_q.lora_down.weight",
    "lycoris_blocks_1_self_attn_q.lora_down.weight",
    "pipe.dit.blocks.1.self_attn.q.lora_A.weight",
]
HINTS: list[tuple[Shapes, str | None]] = [
    ({}, None),
    ({"diffusion_model.blocks.1.cross_attn.k_img.lora_A.weight": [4, 128]}, "i2v"),
    ({"diffusion_model.patch_embedding.diff": [128, 16, 1, 2, 2]}, "t2v"),
    ({"diffusion_model.patch_embedding.diff": [128, 36, 1, 2, 2]}, "i2v"),
    ({"diffusion_model.blocks.0.audio_cross_attn.proj.lora_A.weight": [4, 128]}, "talk"),
]


@pytest.mark.parametrize("name", LORAS)
@pytest.mark.parametrize(("more", "hint"), HINTS)
def test_a_lora_is_recognised_in_every_spelling(
    name: str, more: Shapes, hint: str | None, tmp_path: Path
) -> None:
    up = name.replace("lora_A", "lora_B").replace("lora_down", "lora_up")
    shapes = {up: [128, 16], name: [16, 128], **more}
    path = write_header(tmp_path / "style.safetensors", {n: ("F16", shape) for n, shape in shapes.items()})
    facts = inspect_checkpoint(path)
    assert (facts.component, facts.dim, facts.rank, facts.num_layers) == ("lora", 128, 16, 2)
    assert (facts.task_hint, facts.step_distilled) == (hint, False)


NAMES = [
    ("Wan21_T2V_14B_lightx2v_cfg_step_distill_lora_rank32", True),
    ("lightx2v_I2V_14B_480p_cfg_step_distill_rank64_bf16", True),
    ("Wan2.1_I2V_14B_FusionX_LoRA", True),
    ("Wan21_CausVid_14B_T2V_lora_rank32", True),
    ("anime_style", False),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_step_distilled_files_are_told_by_their_names(name: str, expected: bool, tmp_path: Path) -> None:
    shapes = {
        "blocks.0.ffn.0.lora_down.weight": ("F16", [4, 8]),
        "blocks.0.ffn.0.lora_up.weight": ("F16", [8, 4]),
    }
    assert (
        inspect_checkpoint(write_header(tmp_path / f"{name}.safetensors", shapes)).step_distilled == expected
    )


def test_the_vocal_separator(tmp_path: Path) -> None:
    shapes: Shapes = {f"band_split.to_features.{band}.1.weight": [384, 8] for band in range(60)}
    shapes |= {f"layers.{layer}.0.layers.0.0.norm.gamma": [384] for layer in range(6)}
    path = write_header(tmp_path / "MelBand.safetensors", {n: ("F16", shape) for n, shape in shapes.items()})
    facts = inspect_checkpoint(path)
    assert (facts.component, facts.dim, facts.num_layers, facts.bands) == ("vocal_separator", 384, 6, 60)
