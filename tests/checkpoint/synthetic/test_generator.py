"""The generator of synthetic files against other people's readers: torch, gguf, comfy-kitchen, diffusers."""

from pathlib import Path

import comfy_kitchen
import gguf
import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_wan_transformer_to_diffusers,
    convert_wan_vae_to_diffusers,
)
from safetensors.torch import load_file

from tests.checkpoint.samples import manifests
from tests.checkpoint.synthetic import ggml_blocks, minifloats, names, weights
from tests.checkpoint.synthetic.containers import Raw, floats, kept, write_safetensors
from tests.checkpoint.synthetic.diffusion_files import write_gguf_kind
from tests.checkpoint.synthetic.diffusion_kinds import GGUF
from tests.checkpoint.synthetic.modules import VAE_RESNETS, original

TORCH = {
    "e4m3": torch.float8_e4m3fn,
    "e5m2": torch.float8_e5m2,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}


def drawn(shape: tuple[int, ...]) -> np.ndarray:
    """Weights of many sizes."""
    source = np.random.default_rng(0)
    return source.normal(size=shape) * np.exp(3 * source.normal(size=shape)) * 0.05


def as_tensor(raw: Raw, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(bytearray(raw.content), dtype=torch.uint8).view(dtype).reshape(raw.shape)


@pytest.mark.parametrize("kind", TORCH)
def test_small_floats_are_those_of_torch(kind: str) -> None:
    ties = [0.0, -0.0, 1.0625, 1.1875, 2.0**-10, 3 * 2.0**-10, 2.0**-17, 448.0, 57344.0]
    values = np.concatenate([drawn((50_000,)), ties]).astype(np.float32).clip(-448, 448)
    wanted = torch.from_numpy(values).to(TORCH[kind])
    codes = minifloats.encode(values.astype(np.float64), kind)
    assert torch.equal(torch.from_numpy(codes.view(np.uint8)), wanted.view(torch.uint8))
    assert np.array_equal(minifloats.decode(codes, kind), wanted.double().numpy())


def test_values_beyond_the_largest_saturate() -> None:
    assert [minifloats.rounded(np.asarray(1e9), kind) for kind in ("e2m1", "e4m3", "e5m2")] == [6, 448, 57344]


@pytest.mark.parametrize("kind", ggml_blocks.TYPES)
def test_blocks_are_those_of_the_gguf_package(kind: str) -> None:
    row, number = ggml_blocks.TYPES[kind], gguf.GGMLQuantizationType[kind]
    assert (number.value, gguf.GGML_QUANT_SIZES[number]) == (row.number, (row.elements, row.bytes))
    source = np.random.default_rng(0)
    content, values = ggml_blocks.make(source.normal(size=(64, 512)) * 0.05, kind, source)
    stored = np.frombuffer(content, np.uint8).reshape(64, -1)
    assert np.abs(gguf.quants.dequantize(stored, number) - values).max() <= 1e-7
    assert 0.03 < values.std() < 0.07 and abs(values.mean()) < 0.01


def test_nvfp4_is_that_of_comfy_kitchen() -> None:
    made = weights.nvfp4(high_first=True, in_tiles=True)(drawn((160, 96)))  # neither fills a tile of scales
    parts = made.tensors
    found = comfy_kitchen.dequantize_nvfp4(
        as_tensor(parts[".weight"], torch.uint8),
        as_tensor(parts[".weight_scale_2"], torch.float32),
        as_tensor(parts[".weight_scale"], torch.float8_e4m3fn),
        torch.float32,
    )
    assert np.abs(found.double().numpy() - made.values).max() <= 2e-7 * np.abs(made.values).max()


def test_the_two_orders_of_nvfp4_have_the_same_bits() -> None:
    weight = drawn((256, 256))
    comfy, linear = (weights.nvfp4(high_first=high, in_tiles=high)(weight) for high in (True, False))
    assert np.array_equal(comfy.values, linear.values)
    first, second = (np.frombuffer(made.tensors[".weight"].content, np.uint8) for made in (comfy, linear))
    assert np.array_equal(first, second >> 4 | second << 4) and not np.array_equal(first, second)
    assert sorted(comfy.tensors[".weight_scale"].content) == sorted(linear.tensors[".weight_scale"].content)


LAYOUTS = {
    "fp8": (weights.scaled_fp8("e4m3"), 0.03),
    "fp8 rows": (weights.scaled_fp8("e5m2", per="row"), 0.06),
    "int8": (weights.int8_rows, 0.02),
    "quanto int8": (weights.quanto("int8"), 0.02),
    "quanto fp8": (weights.quanto("e4m3"), 0.03),
    "nvfp4": (weights.nvfp4(high_first=True, in_tiles=True), 0.1),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_keeps_the_weight_to_its_precision(name: str) -> None:
    layout, limit = LAYOUTS[name]
    weight = np.random.default_rng(0).normal(size=(128, 256))
    lost = np.abs(layout(weight).values - weight).mean() / np.abs(weight).mean()
    assert limit / 3 < lost < limit


def test_a_safetensors_file_is_read_by_its_library(tmp_path: Path) -> None:
    values = drawn((3, 5))
    tensors = {dtype: floats(values, dtype) for dtype in ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")}
    write_safetensors(tmp_path / "a.safetensors", tensors, {"format": "pt"})
    for dtype, tensor in load_file(tmp_path / "a.safetensors").items():
        assert np.array_equal(tensor.double().numpy(), kept(values, dtype)), dtype


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_K", "BF16"])
def test_a_gguf_file_is_read_by_its_package(kind: str, tmp_path: Path) -> None:
    written = write_gguf_kind(GGUF[kind], tmp_path / "a.gguf")
    reader = gguf.GGUFReader(written.path)
    assert reader.fields["general.architecture"].contents() == "wan"
    inside = {names.transformer_name(name): values for name, values in written.values.items()}
    assert {tensor.name for tensor in reader.tensors} == inside.keys()
    for tensor in reader.tensors:
        assert tuple(reversed(tensor.shape.tolist())) == inside[tensor.name].shape
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(inside[tensor.name].shape)
        assert np.abs(values - inside[tensor.name]).max() <= 1e-6, tensor.name


@pytest.mark.parametrize(
    ("base", "manifest"),
    [("t2v", "wan2_1_t2v_14b"), ("i2v", "wan2_1_i2v_14b_480p"), ("talk", "infinitetalk_full")],
)
def test_transformer_names_are_the_published_ones(base: str, manifest: str) -> None:
    state = original(base)
    official = {names.transformer_name(name): torch.from_numpy(values) for name, values in state.items()}
    assert names.numbers_left_out(official) == names.numbers_left_out(manifests()[manifest])
    if base != "talk":
        back = convert_wan_transformer_to_diffusers(official)
        assert back.keys() == state.keys()
        assert all(np.array_equal(back[name].numpy(), values) for name, values in state.items())


def test_vae_names_are_the_published_ones() -> None:
    state = original("vae")
    official = {names.vae_name(name, VAE_RESNETS): torch.from_numpy(v) for name, v in state.items()}
    assert official.keys() == manifests()["wan2_1_vae"].keys()
    back = convert_wan_vae_to_diffusers(official)
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[name].numpy(), values) for name, values in state.items())


def test_encoder_names_are_the_published_ones() -> None:
    text = {names.text_name(name) for name in original("text_encoder")}
    assert names.numbers_left_out(text) == names.numbers_left_out(manifests()["umt5_xxl_encoder"])
    speech = {names.speech_name(name) for name in original("speech_encoder")}
    assert names.numbers_left_out(speech) == names.numbers_left_out(manifests()["wav2vec2_base"])
    image = names.numbers_left_out({names.image_name(name) for name in original("image_encoder")})
    published = names.numbers_left_out(manifests()["clip_xlm_roberta_vit_h_14_visual"])
    joined = {f"visual.transformer.N.attn.to_qkv.{leaf}" for leaf in ("weight", "bias")}
    assert published - image == joined | {"visual.head"}
    assert {name for name in image - published if "_proj." not in name} == set()
