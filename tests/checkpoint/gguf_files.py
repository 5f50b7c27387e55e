"""GGUF files, written by the gguf package, whose names and numbers are the format's own."""

from collections.abc import Callable
from pathlib import Path

import torch
from gguf import GGMLQuantizationType, GGUFWriter, quants
from torch import Tensor

from tests.checkpoint.quantized_files import State, linear_stems
from tests.quantization.weights import gguf_weight

TRANSFORMER = {
    "num_attention_heads": 2,
    "ffn_dim": 512,
    "added_kv_proj_dim": 256,
}  # rows of 256 n, as k-quants need
Packed = tuple[Tensor, str]  # bytes (rows, bytes of a row), type


def packed(kind: str, weight: Tensor, seed: int = 0) -> Packed:
    """The weight by the package's quantizer; for k-quants, which have none there, any bytes of that shape."""
    if kind.endswith("_K"):
        return gguf_weight(kind, *weight.shape, seed=seed).tensors["weight"], kind
    content = quants.quantize(weight.float().numpy(), GGMLQuantizationType[kind])
    return torch.from_numpy(content), kind


def values(content: Packed) -> Tensor:
    """fp32, by the package."""
    return torch.from_numpy(quants.dequantize(content[0].numpy(), GGMLQuantizationType[content[1]]))


def write_gguf_file(
    path: Path, dense: State, blocks: dict[str, Packed] | None = None, architecture: str = "wan"
) -> Path:
    """`dense` tensors as F16 or F32, those of more than four dimensions as ggml takes them."""
    writer = GGUFWriter(path, architecture)
    writer.add_string("general.description", "x" * 9000)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b" * 300, "c"])
    writer.add_array("tokenizer.ggml.scores", [0.5, 1.0, -1.0])
    for name, tensor in dense.items():
        if tensor.ndim > 4:
            writer.add_array(f"comfy.gguf.orig_shape.{name}", list(tensor.shape))
            tensor = tensor.reshape(tensor.shape[0], -1)
        writer.add_tensor(name, tensor.contiguous().numpy())
    for name, (content, kind) in (blocks or {}).items():
        writer.add_tensor(name, content.numpy(), raw_dtype=GGMLQuantizationType[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def quantized(state: State, kind_of: Callable[[int], str]) -> tuple[State, dict[str, Packed]]:
    """(what stays dense, the big linears in blocks) of a diffusion model; rows too short for one stay."""
    names = [f"{stem}.weight" for stem in linear_stems(state)]
    names = [name for name in names if state[name].shape[1] % 256 == 0]
    blocks = {name: packed(kind_of(index), state[name], index) for index, name in enumerate(names)}
    return {name: tensor for name, tensor in state.items() if name not in blocks}, blocks
