"""A linear layer over a weight in any stored format."""

from typing import Any

import torch
from torch import Tensor, nn

from wanvideo.quantization.lora import LoraBranch
from wanvideo.quantization.matmul import Multiply, choose_multiply, dequantized
from wanvideo.quantization.stored import StoredWeight

ALIGNMENT = 16  # bytes; the fp8 and FP4 kernels refuse or misread other addresses
_CARRIERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class QLinear(nn.Linear):
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
        self.branches = nn.ModuleList()
        self.register_buffer("base", torch.empty((), dtype=dtype), persistent=False)

    @property
    def compute_dtype(self) -> torch.dtype:
        """The dtype of activations, bias and LoRA branches."""
        return self.get_buffer("base").dtype

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
        for branch in self.branches:
            assert isinstance(branch, LoraBranch)
            branch.add_to(product, rows)
        return product.reshape(shape)

    def add_lora(self, name: str, down: Tensor, up: Tensor, strength: float) -> None:
        """Add strength * (x down^T) up^T beside the weight; `down` (rank, in), `up` (out, rank).

        Raises ValueError for a name that is taken and for shapes that do not fit.
        """
        if any(branch.name == name for branch in self.branches):
            raise ValueError(f"there is a LoRA {name} already")
        wanted = (self.out_features, down.shape[0]), (down.shape[0], self.in_features)
        if (up.shape, down.shape) != wanted:
            raise ValueError(f"LoRA {name}: up {tuple(up.shape)}, down {tuple(down.shape)}; wanted {wanted}")
        place: dict[str, Any] = {"device": self.get_parameter("qweight").device, "dtype": self.compute_dtype}
        self.branches.append(LoraBranch(name, down.to(**place), up.to(**place), strength))

    def remove_lora(self, name: str) -> None:
        """Raises KeyError if there is none of that name."""
        branch = self._branch(name)
        self.branches = nn.ModuleList(other for other in self.branches if other is not branch)

    def set_lora_strength(self, name: str, strength: float) -> None:
        """Raises KeyError if there is none of that name."""
        self._branch(name).strength.data.fill_(strength)

    def extra_repr(self) -> str:
        """What `print(module)` tells."""
        form = " ".join(filter(None, (self.format, self.kind)))
        return f"in_features={self.in_features}, out_features={self.out_features}, {form}"

    def _branch(self, name: str) -> LoraBranch:
        for branch in self.branches:
            if isinstance(branch, LoraBranch) and branch.name == name:
                return branch
        raise KeyError(name)

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


def make_linear(
    stored: StoredWeight, bias: Tensor | None, dtype: torch.dtype, *, fast: bool = False
) -> nn.Linear:
    """A module for that weight: a plain nn.Linear in `dtype` if it is dense, else a QLinear."""
    if stored.format != "dense":
        return QLinear(stored, bias, dtype, choose_multiply(stored, fast=fast))
    out_features, in_features = stored.shape
    linear = nn.Linear(in_features, out_features, bias=bias is not None, device="meta", dtype=dtype)
    linear.weight = _frozen(stored.tensors["weight"].to(dtype))
    if bias is not None:
        linear.bias = _frozen(bias.to(dtype))
    return linear


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor.detach(), requires_grad=False)


def _aligned(tensor: Tensor) -> Tensor:
    """Contiguous, at an address that kernels accept: a slice of a mapped file may lie anywhere."""
    tensor = tensor.contiguous()
    return tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
