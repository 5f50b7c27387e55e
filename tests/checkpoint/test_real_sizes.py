"""Headers of the published files at their real sizes, as other programs write them: all is recognised and has
its place. The files are sparse: names and shapes, no bytes.
"""

import math
import struct
from pathlib import Path

import pytest
import torch

from tests.checkpoint.samples import component_of, manifests, meta_state, write_header
from tests.checkpoint.test_gguf import in_llama_cpp
from wanvideo.checkpoint.header import read_tensors
from wanvideo.checkpoint.inspect import CheckpointFacts, inspect_checkpoint
from wanvideo.checkpoint.keys import ignored_reason, names_in_module, to_module, unexplained_names
from wanvideo.checkpoint.stored_layers import find_stored_layers, without_parts
from wanvideo.quantization.gguf_types import TYPE_OF_NUMBER
from wanvideo.quantization.which import is_quantized_linear

DIFFUSION = [name for name in manifests() if component_of(name) in ("transformer", "infinitetalk")]
LINEARS_OF_A_BLOCK = {"wan2_1_t2v": 10, "wan2_1_i2v": 12, "infinitetalk_full": 15, "infinitetalk_": 3}
NUMBER = {kind.name: number for number, kind in TYPE_OF_NUMBER.items()}


def linear_names(manifest: str) -> set[str]:
    inside = names_in_module(component_of(manifest), manifests()[manifest])
    return {
        name
        for name, names in inside.items()
        if name.endswith(".weight") and is_quantized_linear(names[0].removesuffix(".weight"))
    }


def check(manifest: str, facts: CheckpointFacts, weights: str, parts: int) -> None:
    """`parts` tensors stand beside each linear."""
    component = component_of(manifest)
    linears = linear_names(manifest)
    each = next(count for start, count in LINEARS_OF_A_BLOCK.items() if manifest.startswith(start))
    assert facts.component == component and len(linears) == each * facts.num_layers
    assert (facts.stored.weights, facts.stored.layers, facts.stored.others) == (weights, len(linears), ())
    sizes = {name: math.prod(shape) for name, shape in manifests()[manifest].items()}
    assert facts.num_parameters - sum(sizes.values()) in (0, 1)  # the file's own marker
    assert facts.stored.parameters == sum(sizes[name] for name in linears)
    tensors = read_tensors(facts.path)
    layers = find_stored_layers(component, facts.files, facts.prefix, tensors)
    assert len(tensors) == len(sizes) + parts * len(linears) + ("scaled_fp8" in tensors)
    assert unexplained_names(component, without_parts(tensors, layers)) == []
    assert all(layer.shape == tuple(manifests()[manifest][layer.name]) for layer in layers)


@pytest.mark.parametrize("manifest", DIFFUSION)
def test_scaled_fp8_of_kijai(manifest: str, tmp_path: Path) -> None:
    linears = linear_names(manifest)
    tensors = {
        name: ("F8_E4M3" if name in linears else "F32", shape)
        for name, shape in manifests()[manifest].items()
    }
    tensors |= {f"{name.removesuffix('weight')}scale_weight": ("F32", [1]) for name in linears}
    tensors["scaled_fp8"] = ("F8_E4M3", [1])
    facts = inspect_checkpoint(write_header(tmp_path / "kj.safetensors", tensors))
    check(manifest, facts, "e4m3", parts=1)
    assert facts.stored.scaled


def write_gguf_header(path: Path, tensors: dict[str, tuple[str, list[int]]]) -> Path:
    """Name -> (type, shape); five dimensions as two, with an entry that tells of them."""
    infos, entries, offset = [], [], 0
    for name, (kind, shape) in tensors.items():
        sizes = TYPE_OF_NUMBER[NUMBER[kind]]
        dimensions = shape if len(shape) < 5 else [shape[0], math.prod(shape[1:])]
        text = struct.pack("<Q", len(name)) + name.encode()
        infos.append(text + struct.pack(f"<I{len(dimensions)}Q", len(dimensions), *dimensions[::-1]))
        infos.append(struct.pack("<IQ", NUMBER[kind], offset))
        offset += -(-math.prod(shape) // sizes.block * sizes.bytes // 32) * 32
        if len(shape) > 4:
            key = f"comfy.gguf.orig_shape.{name}".encode()
            entries.append(struct.pack("<Q", len(key)) + key + struct.pack("<IIQ5i", 9, 5, 5, *shape))
    content = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(entries)) + b"".join(entries + infos)
    with path.open("wb") as file:
        file.write(content)
        file.truncate(len(content) + offset + 64)
    return path


@pytest.mark.parametrize("manifest", DIFFUSION)
@pytest.mark.parametrize("kind", ["Q4_K", "Q8_0"])
def test_gguf(kind: str, manifest: str, tmp_path: Path) -> None:
    linears = linear_names(manifest)
    tensors = {
        name: (kind if name in linears else "F16", shape) for name, shape in manifests()[manifest].items()
    }
    facts = inspect_checkpoint(write_gguf_header(tmp_path / "wan.gguf", tensors))
    check(manifest, facts, "gguf", parts=0)
    assert facts.stored.words == f"GGUF {kind}"


@pytest.mark.parametrize("manifest", [name for name in manifests() if component_of(name) == "text_encoder"])
def test_gguf_of_the_text_encoder(manifest: str, tmp_path: Path) -> None:
    """Made from the release in the names of transformers, which llama.cpp's conversion starts from."""
    module = to_module("text_encoder", meta_state(manifest))
    names = {name: list(tensor.shape) for name, tensor in module.items() if "embed_tokens" not in name}
    tensors = {
        in_llama_cpp(n): ("Q5_K" if len(s) == 2 and s[1] % 256 == 0 else "F32", s) for n, s in names.items()
    }
    assert not names.keys() & tensors.keys()
    facts = inspect_checkpoint(write_gguf_header(tmp_path / "umt5.gguf", tensors))
    assert (facts.component, facts.dim, facts.num_layers) == ("text_encoder", 4096, 24)
    assert {name: list(info.shape) for name, info in read_tensors(facts.path).items()} == names
    assert unexplained_names("text_encoder", names) == []


@pytest.mark.parametrize("manifest", [name for name in manifests() if component_of(name) != "infinitetalk"])
def test_names_of_diffusers_and_transformers(manifest: str, tmp_path: Path) -> None:
    component, state = component_of(manifest), meta_state(manifest)
    module = {name: list(tensor.shape) for name, tensor in to_module(component, state).items()}
    found = inspect_checkpoint(
        write_header(tmp_path / "a.safetensors", {n: ("BF16", s) for n, s in module.items()})
    )
    official = inspect_checkpoint(
        write_header(tmp_path / "b.safetensors", {n: ("BF16", s) for n, s in manifests()[manifest].items()})
    )
    assert unexplained_names(component, module) == []
    told = [
        (facts.component, facts.task_hint, facts.dim, facts.num_layers, facts.text_dim, facts.image_dim)
        for facts in (found, official)
    ]
    assert told[0] == told[1] and found.stored == official.stored
    shapes = {name: torch.empty(shape, device="meta") for name, shape in module.items()}
    assert all(not ignored_reason(component, name) for name in module)
    assert to_module(component, shapes).keys() == module.keys()
