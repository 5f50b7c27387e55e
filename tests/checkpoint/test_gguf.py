"""GGUF: diffusion models, InfiniteTalk and text encoders load; a hostile header ends in a sentence."""

import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.checkpoint.gguf_files import TRANSFORMER, packed, quantized, values, write_gguf_file
from tests.checkpoint.quantized_files import State, official_state, small_model
from wanvideo.checkpoint import gguf
from wanvideo.checkpoint.convert import Conversion, convert
from wanvideo.checkpoint.gguf_names import name_in_release
from wanvideo.checkpoint.inspect import inspect_checkpoint
from wanvideo.checkpoint.load import load_text_encoder, load_transformer
from wanvideo.checkpoint.refusal import RefusedCheckpoint
from wanvideo.checkpoint.state import read_file
from wanvideo.errors import UserError
from wanvideo.quantization.gguf_types import READABLE
from wanvideo.quantization.linear import QLinear
from wanvideo.registry import quantization_modes

MIXED = ("Q4_K", "Q6_K", "Q4_K", "Q5_0")


def halved(state: State) -> State:
    """Matrices in fp16 and the rest in fp32, as these files have them."""
    return {name: tensor.half() if tensor.ndim > 1 else tensor for name, tensor in state.items()}


@pytest.fixture(scope="module")
def source() -> State:
    return halved(official_state(small_model(**TRANSFORMER)))


@pytest.mark.parametrize("kind", [*READABLE, "mixed"])
@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_diffusion_model_keeps_its_blocks(kind: str, prefix: str, source: State, tmp_path: Path) -> None:
    dense, blocks = quantized(source, lambda index: MIXED[index % 4] if kind == "mixed" else kind)
    named = [{prefix + name: value for name, value in part.items()} for part in (dense, blocks)]
    facts = inspect_checkpoint(write_gguf_file(tmp_path / "any.gguf", *named))
    assert (facts.component, facts.task_hint, facts.dim, facts.num_layers) == ("transformer", "talk", 256, 2)
    assert (facts.prefix, facts.stored.weights, facts.stored.layers) == (prefix, "gguf", len(blocks))
    assert facts.stored.words == f"GGUF {'Q4_K' if kind == 'mixed' else kind}"
    assert facts.num_parameters == sum(tensor.numel() for tensor in source.values())
    assert facts.stored.others == ("dense",)
    short = [name for name in dense if name.endswith("kv_linear.weight")]
    kept = [content for content, _ in blocks.values()] + [dense[name] for name in short]
    assert facts.stored.bytes == sum(part.nbytes for part in kept)
    loaded = load_transformer(facts, dtype=torch.float32)
    exact = load_transformer(
        inspect_checkpoint(
            write_gguf_file(tmp_path / "b.gguf", dense | {n: values(b) for n, b in blocks.items()})
        ),
        dtype=torch.float32,
    )
    for name, part in exact.named_modules():
        if name.endswith("to_q"):
            query = loaded.get_submodule(name)
            assert isinstance(query, QLinear) and query.kind == (MIXED[0] if kind == "mixed" else kind)
            rows = torch.randn(3, 256)
            torch.testing.assert_close(query(rows), part(rows), rtol=1e-5, atol=1e-6)
    assert torch.equal(loaded.patch_embedding.weight, exact.patch_embedding.weight)
    assert loaded.patch_embedding.weight.ndim == 5


def test_weights_are_mapped_and_taken_as_they_are(source: State, tmp_path: Path) -> None:
    dense, blocks = quantized(source, lambda _: "Q8_0")
    path = write_gguf_file(tmp_path / "a.gguf", dense, blocks)
    state = read_file(path)
    assert len({tensor.untyped_storage().data_ptr() for tensor in state.values()}) == 1
    for name, (content, _) in blocks.items():
        assert torch.equal(state[name], content)
    assert all(torch.equal(state[name].reshape(tensor.shape), tensor) for name, tensor in dense.items())


def test_every_mode_leaves_a_gguf_file_as_it_is(source: State, tmp_path: Path) -> None:
    dense, blocks = quantized(source, lambda _: "Q4_K")
    facts = inspect_checkpoint(write_gguf_file(tmp_path / "a.gguf", dense, blocks))
    for mode in quantization_modes().values():
        query = load_transformer(facts, mode=mode).blocks[0].attn1.to_q
        assert isinstance(query, QLinear) and query.format == "gguf"
    job = Conversion(source=facts, output=tmp_path / "b.safetensors", mode=quantization_modes()["fp4_scaled"])
    with pytest.raises(UserError, match="is a GGUF file: its weights stay as they are"):
        convert(job)


def test_an_infinitetalk_module(source: State, tmp_path: Path) -> None:
    dense, blocks = quantized(source, lambda _: "Q8_0")
    audio: Any = [
        {n: v for n, v in part.items() if "audio_" in n or "norm_x" in n} for part in (dense, blocks)
    ]
    base: Any = [
        {n: v for n, v in part.items() if n not in a} for part, a in zip((dense, blocks), audio, strict=True)
    ]
    facts = [
        inspect_checkpoint(write_gguf_file(tmp_path / f"{name}.gguf", *parts))
        for name, parts in (("base", base), ("audio", audio))
    ]
    assert [part.component for part in facts] == ["transformer", "infinitetalk"]
    assert facts[1].audio_features == 12
    whole = inspect_checkpoint(write_gguf_file(tmp_path / "whole.gguf", dense, blocks))
    found, wanted = load_transformer(*facts).state_dict(), load_transformer(whole).state_dict()
    assert found.keys() == wanted.keys() and all(torch.equal(found[n], wanted[n]) for n in wanted)


LLAMA = {
    "shared.weight": "token_embd.weight",
    "encoder.final_layer_norm.weight": "enc.output_norm.weight",
    "layer.0.layer_norm": "attn_norm",
    "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b",
    **{f"layer.0.SelfAttention.{letter}": f"attn_{letter}" for letter in "qkvo"},
    "layer.1.layer_norm": "ffn_norm",
    "layer.1.DenseReluDense.wi_0": "ffn_gate",
    "layer.1.DenseReluDense.wi_1": "ffn_up",
    "layer.1.DenseReluDense.wo": "ffn_down",
}


def in_llama_cpp(name: str) -> str:
    for ours, theirs in LLAMA.items():
        name = name.replace(ours, theirs)
    return name.replace("encoder.block.", "enc.blk.")


def test_a_text_encoder_with_the_names_of_llama_cpp(tmp_path: Path) -> None:
    from transformers import UMT5Config, UMT5EncoderModel

    sizes: dict[str, Any] = {"vocab_size": 64, "d_model": 256, "d_kv": 64, "d_ff": 256, "num_layers": 2}
    torch.manual_seed(0)
    model = UMT5EncoderModel(UMT5Config(**sizes, num_heads=4, feed_forward_proj="gated-gelu"))
    state = {n: t.detach() for n, t in model.state_dict().items() if n != "encoder.embed_tokens.weight"}
    assert all(name_in_release(in_llama_cpp(name)) == name for name in state)
    matrices = [name for name in state if state[name].shape[-1] == 256 and state[name].ndim == 2]
    blocks = {name: packed("Q6_K", state[name], seed) for seed, name in enumerate(matrices)}
    dense = {in_llama_cpp(name): tensor for name, tensor in state.items() if name not in blocks}
    named = {in_llama_cpp(name): content for name, content in blocks.items()}
    facts = inspect_checkpoint(write_gguf_file(tmp_path / "umt5.gguf", dense, named, "t5encoder"))
    assert (facts.component, facts.dim, facts.num_layers) == ("text_encoder", 256, 2)
    loaded = load_text_encoder(facts, dtype=torch.float32).state_dict()
    for name in state:
        assert torch.equal(loaded[name], values(blocks[name]) if name in blocks else state[name]), name


def test_a_type_that_cannot_be_read_is_named(source: State, tmp_path: Path) -> None:
    dense, blocks = quantized(source, lambda _: "Q4_0")
    name = next(iter(blocks))
    blocks[name] = torch.zeros(256, 136, dtype=torch.uint8), "IQ4_XS"
    with pytest.raises(RefusedCheckpoint, match="the GGUF type IQ4_XS; .*Q4_K_M") as caught:
        inspect_checkpoint(write_gguf_file(tmp_path / "a.gguf", dense, blocks))
    assert caught.value.component == "transformer"


def test_a_language_model_is_no_part_of_wan(tmp_path: Path) -> None:
    path = write_gguf_file(tmp_path / "llama.gguf", {"blk.0.attn_q.weight": torch.zeros(8, 8)}, None, "llama")
    with pytest.raises(RefusedCheckpoint, match="not a model of Wan 2.1") as caught:
        inspect_checkpoint(path)
    assert caught.value.component == "other"


def text(content: bytes) -> bytes:
    return struct.pack("<Q", len(content)) + content


def entry(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


def tensor(name: bytes, shape: tuple[int, ...], kind: int = 0, offset: int = 0) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, offset)


def file_of(*parts: bytes, tensors: int = 0, entries: int = 0, version: int = 3, room: int = 64) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + b"".join(parts) + bytes(room)


SHAPE = b"comfy.gguf.orig_shape.a"
HOSTILE: dict[str, tuple[bytes, str]] = {
    "nothing": (b"GGUF", "ends within its header"),
    "old": (file_of(version=1), "version is 1"),
    "other byte order": (b"GGUF" + struct.pack(">IQQ", 3, 0, 0) + bytes(64), "version is 50331648"),
    "tensors": (file_of(tensors=1 << 60), "counts 1152921504606846976 tensors"),
    "entries": (file_of(entries=1 << 60), "1152921504606846976 entries"),
    "name": (file_of(struct.pack("<Q", 1 << 60), tensors=1), "has 1152921504606846976 bytes"),
    "text": (file_of(entry(b"k", 8, struct.pack("<Q", 1 << 60)), entries=1), "ends within"),
    "list": (file_of(entry(b"k", 9, struct.pack("<IQ", 4, 1 << 60)), entries=1), "ends within"),
    "texts": (file_of(entry(b"k", 9, struct.pack("<IQ", 8, 1 << 60)), entries=1), "type 8 and 1152921504"),
    "nested": (file_of(entry(b"k", 9, struct.pack("<IQ", 9, 1)), entries=1), "type 9"),
    "type of entry": (file_of(entry(b"k", 77, b""), entries=1), "type 77"),
    "dimensions": (file_of(text(b"a") + struct.pack("<I", 1 << 31), tensors=1), "dimensions"),
    "no dimensions": (file_of(tensor(b"a", ()), tensors=1), "has 0 dimensions"),
    "empty": (file_of(tensor(b"a", (4, 0)), tensors=1), "can't be of type F32"),
    "type": (file_of(tensor(b"a", (4,), kind=99), tensors=1), "number 99"),
    "row": (file_of(tensor(b"a", (40,), kind=8), tensors=1), "can't be of type Q8_0"),
    "size": (file_of(tensor(b"a", (1 << 60, 1 << 60)), tensors=1), "ends before the tensor a"),
    "offset": (file_of(tensor(b"a", (4,), offset=1 << 60), tensors=1), "ends before the tensor a"),
    "overlap": (file_of(tensor(b"a", (4,)), tensor(b"b", (4,), offset=8), tensors=2), "b overlaps"),
    "twice": (file_of(tensor(b"a", (4,)), tensor(b"a", (4,), offset=32), tensors=2), "has a twice"),
    "no text": (file_of(tensor(b"\xff\xfe", (4,)), tensors=1), "a name is no UTF-8"),
    "shape": (
        file_of(entry(SHAPE, 9, struct.pack("<IQ2i", 5, 2, 2, 3)), tensor(b"a", (4,)), tensors=1, entries=1),
        r"can't have had the shape \(2, 3\)",
    ),
    "negative shape": (
        file_of(
            entry(SHAPE, 9, struct.pack("<IQ2i", 5, 2, -2, -2)), tensor(b"a", (4,)), tensors=1, entries=1
        ),
        "can't have had the shape",
    ),
    "long shape": (
        file_of(entry(SHAPE, 9, struct.pack("<IQ", 5, 1 << 60)), entries=1),
        "holds no size",
    ),
    "alignment": (
        file_of(entry(b"general.alignment", 4, struct.pack("<I", 0)), entries=1),
        "alignment is 0",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_refused_in_little_memory(name: str, tmp_path: Path) -> None:
    content, sentence = HOSTILE[name]
    path = tmp_path / "some.gguf"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(UserError, match=f"some.gguf is a damaged GGUF file: .*{sentence}"):
        inspect_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_largest_header_takes_bounded_memory(tmp_path: Path) -> None:
    """As many tensors with names as long as the limits allow, and one more byte than a header may have."""
    infos = [tensor(b"%0200d" % index, (4,), offset=32 * index) for index in range(gguf.MAX_TENSORS)]
    path = tmp_path / "wide.gguf"
    path.write_bytes(file_of(*infos, tensors=len(infos), room=32 * len(infos) + 32))
    del infos
    tracemalloc.start()
    with pytest.raises(RefusedCheckpoint, match="not a model of Wan"):
        inspect_checkpoint(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20
    with path.open("wb") as file:
        file.write(file_of(entry(b"k", 8, struct.pack("<Q", gguf.MAX_HEADER_BYTES)), entries=1))
        file.truncate(4 * gguf.MAX_HEADER_BYTES)
    with pytest.raises(UserError, match="ends within its header"):
        inspect_checkpoint(path)


def test_gguf_is_known_by_its_first_bytes(source: State, tmp_path: Path) -> None:
    dense, blocks = quantized(source, lambda _: "Q8_0")
    path = write_gguf_file(tmp_path / "a.gguf", dense, blocks)
    renamed = path.rename(tmp_path / "a.safetensors")
    assert inspect_checkpoint(renamed).stored.weights == "gguf"
    (tmp_path / "b.gguf").write_bytes(b"text")
    with pytest.raises(UserError, match="b.gguf is not a GGUF file"):
        inspect_checkpoint(tmp_path / "b.gguf")


DAMAGE: list[Callable[[bytes], bytes]] = [
    lambda content: content[:-40],
    lambda content: content[: len(content) // 2],
    lambda content: content[:300],
]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_short_file_is_told(damage: Callable[[bytes], bytes], source: State, tmp_path: Path) -> None:
    path = write_gguf_file(tmp_path / "a.gguf", *quantized(source, lambda _: "Q8_0"))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="a.gguf is a damaged GGUF file: it ends"):
        inspect_checkpoint(path)
