"""Weights of GGUF files: read, never made here. The arithmetic of the types is diffusers' (llama.cpp's)."""

import torch
from diffusers.quantizers.gguf.utils import GGML_QUANT_SIZES, dequantize_functions
from torch import Tensor

from wanvideo.quantization.stored import StoredWeight

TYPES = {
    kind.name: kind
    for kind in dequantize_functions
    if kind.name in ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "BF16")
}


def row_bytes(kind: str, in_features: int) -> int:
    """Bytes of one row of a weight. KeyError for a type that is not in `TYPES`."""
    block, size = GGML_QUANT_SIZES[TYPES[kind]]
    return int(in_features // block * size)


def dequantize(stored: StoredWeight, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) in `dtype`. Computed in fp32: the scales are fp16, and bf16 would round them."""
    kind = TYPES[stored.kind]
    block, size = GGML_QUANT_SIZES[kind]
    blocks = stored.tensors["weight"].reshape(-1, size)
    values: Tensor = dequantize_functions[kind](blocks, block, size, dtype=torch.float32)
    return values.reshape(stored.shape).to(dtype)
