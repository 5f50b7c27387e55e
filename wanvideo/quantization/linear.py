"""A linear layer over a weight in any stored format."""

from typing import Any

import torch
from torch import Tensor, nn

from wanvideo.quantization.lora import LoraSite
from wanvideo.quantization.matmul import (
    Multiply,
    choose_multiply,
    dequantized,
    product_of_fp8,
    takes_fp8,
)
from wanvideo.quantization.stored import StoredWeight

ALIGNMENT = 16  # bytes; the fp8 and FP4 kernels refuse or misread other addresses
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class QLinear(LoraSite, nn.Linear):
    """nn.Linear whose payload is `qweight` and whose scales stand beside it, all as frozen parameters.

    Parameters, not buffers, and plain tensors, not subclasses: what moves a model's weights then moves these.
    `.to(dtype)` changes the dtype that is computed in and never payload or scales.
    """

    bias: nn.Parameter | None  # type: ignore[assignment]

    def __init__(
        self, stored: StoredWeight, bias: Tensor | None, dtype: torch.dtype, multiply: Multiply = dequantized
    ) -> None:
        nn.Module.__init__(self)  # not nn.Linear's: it would allocate a dense weight
        self.out_features, self.in_features = stored.shape
        self.format, self.kind, self.multiply = stored.format, stored.kind, multiply
        self.names = {name: "qweight" if name == "weight" else name for name in stored.tensors}
        for name, attribute in self.names.items():
            self.register_parameter(attribute, _frozen(_aligned(stored.tensors[name])))
        self.register_parameter("bias", None if bias is None else _frozen(bias.to(dtype)))
        self._open_site(dtype, self.get_parameter("qweight").device)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """A stand-in of the dense weight's shape, dtype and device, without values.

        Code of other projects reads `linear.weight.dtype` to cast activations; fp8 or bytes would mislead it.
        """
        device = self.get_parameter("qweight").device
        return torch.empty((), dtype=self.compute_dtype, device=device).expand(
            self.out_features, self.in_features
        )

    def stored(self) -> StoredWeight:
        """The weight as it is kept, without copies."""
        tensors = {name: self._parameters[attribute] for name, attribute in self.names.items()}
        return StoredWeight(
            format=self.format,
            tensors={name: tensor for name, tensor in tensors.items() if tensor is not None},
            shape=(self.out_features, self.in_features),
            kind=self.kind,
        )

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features) in the same dtype."""
        shape = (*input.shape[:-1], self.out_features)
        rows = input.reshape(-1, self.in_features)
        if rows.shape[0] == 0:  # the scaled products refuse it
            return input.new_empty(shape)
        product = self.multiply(rows, self.stored(), self.bias)
        self.add_branches(product, rows)
        return product.reshape(shape)

    def takes_fp8(self) -> bool:
        """Whether the fp8 values of activations are all that `forward` needs of them."""
        return not len(self.branches) and takes_fp8(self.multiply, self.stored())

    def product_of_fp8(self, values: Tensor, scales: Tensor, dtype: torch.dtype) -> Tensor:
        """`forward`, where it `takes_fp8`, of activations of `dtype` that are e4m3 (M, in_features) already,
        with fp32 scales (M, 1) -> (M, out_features).
        """
        return product_of_fp8(self.multiply, (values, scales), self.stored(), self.bias, dtype)

    def extra_repr(self) -> str:
        """What `print(module)` tells."""
        form = " ".join(filter(None, (self.format, self.kind)))
        return f"in_features={self.in_features}, out_features={self.out_features}, {form}"

    def _apply(self, fn: Any, recurse: bool = True) -> "QLinear":
        """The payload passes through `fn` as integers, which casts to a float dtype leave alone."""
        kept = {name: self.get_parameter(name).data for name in self.names.values()}
        for name, tensor in kept.items():
            self.get_parameter(name).data = tensor.view(_CARRIERS[tensor.dtype.itemsize])
        try:
            super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        finally:
            for name, tensor in kept.items():
                moved = self.get_parameter(name)
                whole = moved.dtype == _CARRIERS[tensor.dtype.itemsize]  # `.type(dtype)` casts integers too
                moved.data = moved.data.view(tensor.dtype) if whole else tensor.to(moved.device)
        return self


class BranchedLinear(LoraSite, nn.Linear):
    """A dense linear that LoRA branches can stand beside. It has the very parameters of the one whose place
    it takes: no copies, and what moves or casts one of the two does so for both.
    """

    bias: nn.Parameter | None  # type: ignore[assignment]

    def __init__(self, linear: nn.Linear) -> None:
        nn.Module.__init__(self)  # not nn.Linear's: it would allocate another weight
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.weight, self.bias = linear.weight, linear.bias
        self._open_site(linear.weight.dtype, linear.weight.device)
        self.train(linear.training)

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        product = nn.functional.linear(input, self.weight, self.bias)
        if len(self.branches):
            rows = input.reshape(-1, self.in_features)
            self.add_branches(product.view(-1, self.out_features), rows)
        return product


def make_linear(
    stored: StoredWeight, bias: Tensor | None, dtype: torch.dtype, *, fast: bool = False, fp4: bool = False
) -> nn.Linear:
    """A module for that weight: a plain nn.Linear in `dtype` if it is dense, else a QLinear that multiplies
    as `choose_multiply` says.
    """
    if stored.format != "dense":
        return QLinear(stored, bias, dtype, choose_multiply(stored, fast=fast, fp4=fp4))
    out_features, in_features = stored.shape
    linear = nn.Linear(in_features, out_features, bias=bias is not None, device="meta", dtype=dtype)
    linear.weight = _frozen(stored.tensors["weight"].to(dtype))
    if bias is not None:
        linear.bias = _frozen(bias.to(dtype))
    return linear


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)  # which detaches it


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous, at an address that kernels accept: a slice of a mapped file may lie anywhere."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
