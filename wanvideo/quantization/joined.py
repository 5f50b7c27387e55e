"""Several linears over one input as a single one, so that the input is read, and quantized, once.

The joined layer owns the only copy of the weights: the rows of one part after those of the other. Every part
keeps its values bit by bit; scales that differ from part to part become scales of rows.
"""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import torch
from torch import Tensor, nn

from wanvideo.quantization import nvfp4_layout as layout
from wanvideo.quantization.linear import QLinear, make_linear
from wanvideo.quantization.lora import LoraSite
from wanvideo.quantization.matmul import scaled_nvfp4
from wanvideo.quantization.stored import StoredWeight

Parts: TypeAlias = Sequence[StoredWeight]
ONE_TENSOR_SCALE = frozenset({scaled_nvfp4})  # the ways to multiply that take no scale for each row


class LinearPart(LoraSite):
    """What stays of a linear in its place when its weight has gone into a joined one: its size and its LoRA
    branches. It does not run by itself.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self._open_site(linear.weight.dtype, linear.weight.device)
        if isinstance(linear, LoraSite):
            self.branches = linear.branches

    def extra_repr(self) -> str:
        """What `print(module)` tells."""
        return f"in_features={self.in_features}, out_features={self.out_features}, joined"


def why_apart(linears: Sequence[nn.Linear]) -> str | None:
    """Why these can't be one product with the same result; None when they can."""
    stored = [_stored(linear) for linear in linears]
    first = stored[0]
    kinds = {(part.format, part.kind, part.shape[1], part.tensors["weight"].dtype) for part in stored}
    if len(kinds) > 1:
        return "they are stored in different formats"
    ways = {_multiply(linear) for linear in linears}
    if len(ways) > 1 or first.format not in _JOIN:
        return "they are multiplied in different ways"
    if len({linear.bias is None for linear in linears}) > 1:
        return "not all of them have a bias"
    if not _same(stored, "input_scale"):
        return "the file gives their input different scales"
    if ways & ONE_TENSOR_SCALE and not _same(stored, "weight_scale_2"):
        return "each has a scale of its own, and FP4 tensor cores take one for a product"
    return None


def join_linears(linears: Sequence[nn.Linear]) -> nn.Linear:
    """One linear that gives the outputs of all of them, side by side. For those that `why_apart` allows; LoRA
    branches stay with `LinearPart`.
    """
    stored = [_stored(linear) for linear in linears]
    tensors = _JOIN[stored[0].format](stored)
    if "input_scale" in stored[0].tensors:
        tensors["input_scale"] = stored[0].tensors["input_scale"]
    rows = sum(part.shape[0] for part in stored)
    whole = StoredWeight(
        format=stored[0].format, tensors=tensors, shape=(rows, stored[0].shape[1]), kind=stored[0].kind
    )
    biases: list[Tensor] = [linear.bias for linear in linears if linear.bias is not None]
    bias = torch.cat(biases) if biases else None
    if isinstance(linears[0], QLinear):
        return QLinear(whole, bias, linears[0].compute_dtype, linears[0].multiply)
    return make_linear(whole, bias, linears[0].weight.dtype)


def split_product(product: Tensor, parts: Sequence[LinearPart], source: Tensor) -> list[Tensor]:
    """The joined product (..., sum of out) as one view (..., out) for each part, with the LoRA branches of
    that part of `source` (..., in) added in place.
    """
    outputs, first = [], 0
    for part in parts:
        output = product[..., first : first + part.out_features]
        if len(part.branches):
            # A view for certain, where `reshape` could copy: the sum must reach `product`.
            part.add_branches(output.view(-1, part.out_features), source.reshape(-1, part.in_features))
        outputs.append(output)
        first += part.out_features
    return outputs


def _stored(linear: nn.Linear) -> StoredWeight:
    if isinstance(linear, QLinear):
        return linear.stored()
    shape = (linear.out_features, linear.in_features)
    return StoredWeight(format="dense", tensors={"weight": linear.weight.data}, shape=shape)


def _multiply(linear: nn.Linear) -> object:
    return linear.multiply if isinstance(linear, QLinear) else None


def _same(parts: Parts, name: str) -> bool:
    """Whether all have the same tensor of that name, or none has one."""
    found = [part.tensors.get(name) for part in parts]
    if found[0] is None or any(tensor is None for tensor in found):
        return all(tensor is None for tensor in found)
    first = found[0].reshape(-1)
    return all(tensor is not None and torch.equal(tensor.reshape(-1), first) for tensor in found)


def _rows(parts: Parts) -> dict[str, Tensor]:
    return {"weight": _stacked(parts)}


def _fp8(parts: Parts) -> dict[str, Tensor]:
    """One scale for all where they share it, else one for each row; none where no part has one."""
    if all("weight_scale" not in part.tensors for part in parts):
        return _rows(parts)
    scale = parts[0].tensors.get("weight_scale")
    if scale is None or scale.numel() > 1 or not _same(parts, "weight_scale"):
        scale = torch.cat([_row_scales(part, "weight_scale") for part in parts])
    return {**_rows(parts), "weight_scale": scale}


def _nvfp4(parts: Parts) -> dict[str, Tensor]:
    """Block scales are laid out anew: tiles of 128 rows may lie across the border of two parts."""
    blocks = []
    for part in parts:
        rows, half = part.tensors["weight"].shape
        blocks.append(layout.unswizzle(part.tensors["weight_scale"], rows, 2 * half // layout.BLOCK))
    scale = parts[0].tensors["weight_scale_2"]
    if not _same(parts, "weight_scale_2"):
        scale = torch.cat([_row_scales(part, "weight_scale_2") for part in parts])
    swizzled = layout.swizzle(torch.cat([block.view(torch.uint8) for block in blocks]).view(blocks[0].dtype))
    return {**_rows(parts), "weight_scale": swizzled, "weight_scale_2": scale}


def _stacked(parts: Parts) -> Tensor:
    weights = [part.tensors["weight"] for part in parts]
    if weights[0].dtype.itemsize > 1:
        return torch.cat(weights)
    return torch.cat([weight.view(torch.uint8) for weight in weights]).view(weights[0].dtype)


def _row_scales(part: StoredWeight, name: str) -> Tensor:
    """fp32 (out, 1)."""
    scale = part.tensors.get(name)
    if scale is None:
        return torch.ones(part.shape[0], 1, device=part.tensors["weight"].device)
    return scale.float().reshape(-1, 1).expand(part.shape[0], 1)


_JOIN: dict[str, Callable[[Parts], dict[str, Tensor]]] = {
    "dense": _rows,
    "e4m3": _fp8,
    "e5m2": _fp8,
    "int8": _fp8,
    "nvfp4": _nvfp4,
    "gguf": _rows,
}
