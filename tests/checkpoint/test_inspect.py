"""Recognition from the header alone: what each file is, and one clear sentence for what can't be used."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.samples import shrunk, write_header
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.errors import UserError

Tensors = dict[str, tuple[str, list[int]]]

TRANSFORMER = {"component": "transformer", "dim": 128}
I2V = TRANSFORMER | {"num_layers": 40, "in_channels": 36, "has_image_branch": True, "image_dim": 32}
PUBLISHED: list[tuple[str, int, dict[str, Any]]] = [
    (
        "wan2_1_t2v_1_3b",
        12,
        TRANSFORMER | {"num_layers": 30, "in_channels": 16, "task_hint": "t2v", "text_dim": 4096},
    ),
    ("wan2_1_t2v_14b", 40, TRANSFORMER | {"num_layers": 40, "has_image_branch": False, "image_dim": None}),
    ("wan2_1_i2v_14b_480p", 40, I2V | {"task_hint": "i2v", "has_audio": False, "audio_features": None}),
    ("wan2_1_i2v_14b_720p", 40, I2V | {"task_hint": "i2v"}),
    (
        "infinitetalk_full",
        40,
        I2V | {"task_hint": "talk", "has_audio": True, "audio_features": 46080 // 40 // 5},
    ),
    (
        "infinitetalk_single_audio",
        40,
        {"component": "infinitetalk", "dim": 128, "num_layers": 40, "has_audio": True, "audio_features": 230},
    ),
    ("infinitetalk_multi_audio", 40, {"component": "infinitetalk", "in_channels": None, "task_hint": "talk"}),
    ("wan2_1_vae", 12, {"component": "vae", "dim": 8, "in_channels": 16}),
    ("umt5_xxl_encoder", 64, {"component": "text_encoder", "dim": 64, "num_layers": 24}),
    ("clip_xlm_roberta_vit_h_14_visual", 16, {"component": "image_encoder", "dim": 80, "num_layers": 32}),
    ("clip_xlm_roberta_vit_h_14_full", 16, {"component": "image_encoder", "dim": 80, "num_layers": 32}),
    ("wav2vec2_base", 12, {"component": "speech_encoder", "dim": 64, "num_layers": 12}),
]
MINIMAL_I2V = {
    "patch_embedding.weight": [128, 36, 1, 2, 2],
    "text_embedding.0.weight": [128, 64],
    "img_emb.proj.0.weight": [80],
    "blocks.0.cross_attn.k_img.weight": [128, 128],
}


def typed(shapes: dict[str, list[int]], dtype: str = "BF16") -> Tensors:
    return {name: (dtype, shape) for name, shape in shapes.items()}


@pytest.mark.parametrize(("manifest", "factor", "expected"), PUBLISHED)
def test_published_files(manifest: str, factor: int, expected: dict[str, Any], tmp_path: Path) -> None:
    shapes = shrunk(manifest, factor)
    facts = inspect_checkpoint(write_header(tmp_path / "any_name.safetensors", typed(shapes)))
    assert {name: getattr(facts, name) for name in expected} == expected
    assert (facts.prefix, facts.dtypes, facts.stored.weights) == ("", ("BF16",), "dense")
    assert facts.bytes == 2 * facts.num_parameters > 0


@pytest.mark.parametrize(
    "prefix", ["model.diffusion_model.", "diffusion_model.", "model.", "transformer.", "_orig_mod."]
)
def test_prefix_is_seen_and_dtypes_are_sorted_by_bytes(prefix: str, tmp_path: Path) -> None:
    tensors = {f"{prefix}{name}": ("F16", shape) for name, shape in MINIMAL_I2V.items()}
    tensors |= {f"{prefix}head.head.bias": ("F32", [4])}
    facts = inspect_checkpoint(write_header(tmp_path / "model.safetensors", tensors))
    assert (facts.prefix, facts.task_hint, facts.dtypes) == (prefix, "i2v", ("F16", "F32"))


OTHER_SPELLINGS: list[tuple[str, dict[str, list[int]]]] = [
    ("speech_encoder", {f"wav2vec2.{name}": shape for name, shape in shrunk("wav2vec2_base", 12).items()}),
    (
        "text_encoder",
        {
            "shared.weight": [300, 64],
            "spiece_model": [9],
            "encoder.block.0.layer.0.SelfAttention.q.weight": [64, 64],
        },
    ),
    ("image_encoder", {"vision_model.embeddings.class_embedding": [80]}),
    (
        "vae",
        {
            "decoder.mid_block.resnets.0.norm1.gamma": [8, 1, 1, 1],
            "post_quant_conv.weight": [16, 16, 1, 1, 1],
            "encoder.conv_in.weight": [8, 3, 3, 3, 3],
        },
    ),
]


@pytest.mark.parametrize(("component", "shapes"), OTHER_SPELLINGS)
def test_other_spellings(component: str, shapes: dict[str, list[int]], tmp_path: Path) -> None:
    tensors = typed(shapes)
    if "spiece_model" in tensors:
        tensors["spiece_model"] = ("U8", [9])
    assert inspect_checkpoint(write_header(tmp_path / "a.safetensors", tensors)).component == component


QUANTIZED = {"blocks.0.self_attn.q.weight": ("F8_E4M3", [128, 128])}
REFUSED: list[tuple[str, Tensors]] = [
    (
        "VAE with 48 channels",
        typed({"decoder.middle.0.residual.0.gamma": [8, 1, 1, 1], "conv2.weight": [48, 48, 1, 1, 1]}),
    ),
    ("Wan 2.2 5B", typed({"patch_embedding.weight": [3072, 48, 1, 2, 2]})),
    ("VACE", typed(MINIMAL_I2V | {"vace_blocks.0.before_proj.weight": [4, 4]})),
    ("Fun control", typed({"patch_embedding.weight": [128, 48, 1, 2, 2]})),
    ("no CLIP branch", typed({"patch_embedding.weight": [128, 36, 1, 2, 2]})),
    ("first-last-frame", typed(MINIMAL_I2V | {"img_emb.emb_pos": [1, 514, 80]})),
    (
        "type U8; this format is not supported yet",
        typed(MINIMAL_I2V) | {"blocks.0.self_attn.q.weight": ("U8", [128, 64])},
    ),
    (
        "fp8 weights with a scale per block",
        typed(MINIMAL_I2V) | QUANTIZED | typed({"blocks.0.self_attn.q.weight_scale": [128, 8]}),
    ),
    (
        "is a LoRA of another model",
        typed({"lora_unet_down_blocks_0_attentions_0.lora_down.weight": [4, 128]}),
    ),
    ("not a model of Wan 2.1", typed({"model.layers.0.mlp.weight": [4, 4]})),
    ("blocks.0.audio_cross_attn.q_linear.weight is missing", typed({"audio_proj.proj1.weight": [8, 60]})),
    (
        "is a T5 encoder",
        typed(
            {
                "shared.weight": [300, 64],
                "encoder.block.0.layer.0.SelfAttention.q.weight": [64, 64],
                "encoder.block.1.layer.0.layer_norm.weight": [64],
            }
        ),
    ),
]


def test_facts_say_how_the_weights_are_kept(tmp_path: Path) -> None:
    """Of the linears of the blocks; the rest does not count, and scales are no parameters."""
    plain = inspect_checkpoint(
        write_header(tmp_path / "a.safetensors", typed(MINIMAL_I2V) | QUANTIZED)
    ).stored
    assert (plain.weights, plain.others, plain.scaled) == ("dense", ("e4m3",), False)
    more = {f"blocks.0.self_attn.{name}.weight": ("F8_E4M3", [128, 128]) for name in "kvo"}
    scale = typed({"blocks.0.self_attn.q.scale_weight": [1]}, "F32")
    tensors = typed(MINIMAL_I2V) | QUANTIZED | more | scale | {"scaled_fp8": ("F8_E4M3", [2])}
    facts = inspect_checkpoint(write_header(tmp_path / "b.safetensors", tensors))
    assert (facts.stored.weights, facts.stored.others, facts.stored.scaled) == ("e4m3", ("dense",), True)
    assert (facts.stored.layers, facts.stored.exact_layers) == (4, 4)
    assert facts.stored.parameters == 5 * 128 * 128 and facts.stored.bytes == 6 * 128 * 128 + 4
    assert facts.dtypes == ("BF16", "F8_E4M3", "F32")


@pytest.mark.parametrize(("sentence", "tensors"), REFUSED)
def test_what_cannot_be_used_is_named(sentence: str, tensors: Tensors, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=sentence):
        inspect_checkpoint(write_header(tmp_path / "some.safetensors", tensors))


def header_bytes(entries: object) -> bytes:
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + bytes(64)


def entry(begin: int, end: int, shape: list[Any]) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


DAMAGED: list[tuple[str, bytes, str]] = [
    ("empty.safetensors", b"", "not a safetensors file"),
    ("text.safetensors", b"a text file renamed to look like a model", "not a safetensors file"),
    ("huge.safetensors", (1 << 62).to_bytes(8, "little") + bytes(64), "not a safetensors file"),
    (
        "long.safetensors",
        (5 << 20).to_bytes(8, "little") + bytes(6 << 20),
        "header of long.safetensors is too long",
    ),
    ("json.safetensors", (4).to_bytes(8, "little") + b"{{{{", "header of json.safetensors is damaged"),
    ("list.safetensors", header_bytes([1]), "header of list.safetensors is damaged"),
    (
        "short.safetensors",
        header_bytes({"a": entry(0, 4096, [1024])}),
        "incomplete: it ends before the tensor a",
    ),
    (
        "overlap.safetensors",
        header_bytes({"a": entry(0, 16, [4]), "b": entry(8, 24, [4])}),
        "b overlaps another",
    ),
    ("shape.safetensors", header_bytes({"a": entry(0, 16, [5])}), "header of shape.safetensors is damaged"),
    (
        "negative.safetensors",
        header_bytes({"a": entry(-16, 0, [4])}),
        "header of negative.safetensors is damaged",
    ),
    ("text_shape.safetensors", header_bytes({"a": entry(0, 16, ["4"])}), "damaged"),
    ("model.gguf", b"GGUF" + bytes(64), "is a damaged GGUF file: its version is 0"),
    ("model.pth", b"PK not really", "damaged or holds more than tensors"),
    ("model.pt", b"", "damaged or holds more than tensors"),
    ("model.txt", b"hello", "not a model file"),
]


@pytest.mark.parametrize(("name", "content", "sentence"), DAMAGED)
def test_damaged_files_are_refused(name: str, content: bytes, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=sentence):
        inspect_checkpoint(path)


def test_a_pickle_is_recognised_and_code_in_it_is_not_run(tmp_path: Path) -> None:
    state = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in MINIMAL_I2V.items()}
    torch.save({"state_dict": state}, tmp_path / "wan.pth")
    facts = inspect_checkpoint(tmp_path / "wan.pth")
    assert (facts.task_hint, facts.dtypes) == ("i2v", ("BF16",))
    torch.save(state | {"evil": print}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="damaged or holds more than tensors"):
        inspect_checkpoint(tmp_path / "evil.pth")


def test_legacy_pickles_are_recognised(tmp_path: Path) -> None:
    state = {name: torch.zeros(shape, dtype=torch.float16) for name, shape in MINIMAL_I2V.items()}
    torch.save(state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    facts = inspect_checkpoint(tmp_path / "old.pt")
    assert (facts.task_hint, facts.dtypes) == ("i2v", ("F16",))


def test_inspecting_a_pickle_loads_no_torch(tmp_path: Path) -> None:
    state = {name: torch.zeros(shape) for name, shape in MINIMAL_I2V.items()}
    torch.save(state, tmp_path / "wan.pth")
    code = (
        "import sys; from pathlib import Path; from wanvideo.checkpoint.inspect import inspect_checkpoint;"
        "print(inspect_checkpoint(Path(sys.argv[1])).task_hint, 'torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "wan.pth")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert done.stdout.split() == ["i2v", "False"]


def test_shards_are_one_model_however_they_are_named(tmp_path: Path) -> None:
    names = list(MINIMAL_I2V)
    files = [f"diffusion_pytorch_model-0000{index}-of-00002.safetensors" for index in (1, 2)]
    for file, part in zip(files, (names[:2], names[2:]), strict=True):
        write_header(tmp_path / file, typed({name: MINIMAL_I2V[name] for name in part}))
    by_shard = inspect_checkpoint(tmp_path / files[1])
    assert by_shard.task_hint == "i2v" and [file.name for file in by_shard.files] == files
    assert inspect_checkpoint(tmp_path).files == by_shard.files
    index = tmp_path / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: files[name not in names[:2]] for name in names}}))
    assert inspect_checkpoint(index).files == inspect_checkpoint(tmp_path).files == by_shard.files
    (tmp_path / files[0]).unlink()
    for path in (index, tmp_path, tmp_path / files[1]):
        with pytest.raises(UserError, match="incomplete, 1 file"):
            inspect_checkpoint(path)
    index.write_text(json.dumps({"weight_map": {"a": "../secret.safetensors"}}))
    with pytest.raises(UserError, match="points outside its folder"):
        inspect_checkpoint(index)


def test_missing_file_and_ambiguous_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        inspect_checkpoint(tmp_path / "nothing.safetensors")
    for name in ("a", "b"):
        write_header(tmp_path / f"{name}.safetensors", typed(MINIMAL_I2V))
    with pytest.raises(UserError, match="not one model"):
        inspect_checkpoint(tmp_path)


def test_inspecting_needs_no_torch(tmp_path: Path) -> None:
    path = write_header(tmp_path / "model.safetensors", typed(MINIMAL_I2V))
    code = (
        "import sys; from pathlib import Path; from wanvideo.checkpoint.inspect import inspect_checkpoint;"
        f"inspect_checkpoint(Path({str(path)!r})); sys.exit('torch' in sys.modules)"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False).returncode
        == 0
    )
