"""Weights and layers that the tests of quantization share."""

import torch
from gguf import GGMLQuantizationType, quants
from torch import Tensor, nn

from wanvideo.quantization import fp8, nvfp4
from wanvideo.quantization.linear import make_linear
from wanvideo.quantization.stored import StoredWeight
from wanvideo.registry import quantization_modes

OUT, IN = 768, 512


def random_weight(rows: int = OUT, columns: int = IN, *, seed: int = 0) -> Tensor:
    """As a trained linear's: normal, small."""
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * 0.02


def outlier_weight() -> Tensor:
    """With the few input channels of 10 to 20 times the size that trained transformers have."""
    generator = torch.Generator().manual_seed(1)
    columns = torch.randperm(IN, generator=generator)[:6]
    weight = random_weight(seed=2)
    weight[:, columns] *= torch.empty(6).uniform_(10, 20, generator=generator)
    return weight


def activations(*shape: int, seed: int = 3, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def relative_error(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact.double()).norm() / exact.double().norm())


def gguf_weight(kind: str, rows: int, columns: int, seed: int = 4) -> StoredWeight:
    """Any bytes are a weight: the payload is random, the fp16 scales in it are small numbers."""
    block, size = quants.GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    generator = torch.Generator().manual_seed(seed)
    blocks = torch.randint(0, 256, (rows * columns // block, size), generator=generator, dtype=torch.uint8)
    scales = {"Q6_K": (208,), "Q3_K": (108,), "Q2_K": (80, 82)}.get(kind, (0,))
    if kind in ("Q4_1", "Q5_1", "Q4_K", "Q5_K"):
        scales = (0, 2)
    for place in scales:
        values = torch.rand(len(blocks), generator=generator).half() * 1e-3
        blocks[:, place : place + 2] = values[:, None].view(torch.uint8)
    return StoredWeight(
        format="gguf", tensors={"weight": blocks.reshape(rows, -1)}, shape=(rows, columns), kind=kind
    )


def int8_weight(rows: int, columns: int, seed: int = 6) -> StoredWeight:
    """Any integers are a weight; a scale for each row."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randint(-127, 128, (rows, columns), generator=generator, dtype=torch.int8)
    scale = torch.rand(rows, 1, generator=generator) * 3e-4
    return StoredWeight(
        format="int8", tensors={"weight": weight, "weight_scale": scale}, shape=(rows, columns)
    )


def gguf_reference(stored: StoredWeight) -> Tensor:
    """The same weight by the gguf package, in numpy."""
    kind = GGMLQuantizationType[stored.kind]
    return torch.from_numpy(quants.dequantize(stored.tensors["weight"].numpy(), kind)).reshape(stored.shape)


def all_linears(
    out_features: int = 64, in_features: int = 256, dtype: torch.dtype = torch.bfloat16
) -> dict[str, nn.Linear]:
    """A layer of each mode of the table, and of each stored format that only files bring."""
    weight = random_weight(out_features, in_features).bfloat16()
    bias = activations(out_features, seed=5)
    dense = StoredWeight(format="dense", tensors={"weight": weight}, shape=(out_features, in_features))
    layers = {
        name: mode.make_linear(mode.store(weight) if mode.store else dense, bias, dtype)
        for name, mode in quantization_modes().items()
    }
    bare = StoredWeight(
        format="e4m3", tensors={"weight": (weight * 50).to(torch.float8_e4m3fn)}, shape=dense.shape
    )
    still = fp8.quantize(weight, "e4m3", per_row=True)
    still.tensors["input_scale"] = torch.tensor(4.0 / 448)
    files = {
        "e4m3 without a scale": bare,
        "e4m3 with an input scale": still,
        "nvfp4": nvfp4.quantize(weight),
        "gguf Q4_K": gguf_weight("Q4_K", out_features, in_features),
        "int8": int8_weight(out_features, in_features),
    }
    for name, stored in files.items():
        for fast in (False, True):
            layers[f"{name}{', fast' * fast}"] = make_linear(stored, bias, dtype, fast=fast)
    return layers
