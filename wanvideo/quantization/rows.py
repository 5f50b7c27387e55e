"""What the rows of several modes share: who can run them, and calls that load torch only when they run."""

from typing import TYPE_CHECKING

from wanvideo.hardware import Hardware
from wanvideo.quantization.stored import StoredWeight

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

FP8_CAPABILITY = (8, 9)  # Ada and Hopper brought fp8 tensor cores
FP4_CAPABILITY = (10, 0)  # Blackwell, FP4 ones


def runs_everywhere(hardware: Hardware) -> str | None:  # noqa: ARG001 - the contract's signature
    """No machine is too small."""
    return None


def needs_fp8_cores(what: str, hardware: Hardware) -> str | None:
    """A sentence that begins with "<what> not supported on this GPU", or None with compute capability 8.9."""
    lead = f"{what} not supported on this GPU"
    if not hardware.gpus:
        return f"{lead}: there is no NVIDIA card"
    if not hardware.torch_has_cuda:
        return f"{lead}: torch is installed without CUDA"
    card = hardware.gpus[0]
    if card.compute_capability >= FP8_CAPABILITY:
        return None
    has, needs = (".".join(map(str, version)) for version in (card.compute_capability, FP8_CAPABILITY))
    return f"{lead}: {card.name} has compute capability {has}, {needs} is needed"


def needs_fp4_cores(hardware: Hardware) -> str | None:
    """A sentence, or None with compute capability 10.0."""
    if not hardware.gpus or hardware.gpus[0].compute_capability >= FP4_CAPABILITY:
        return needs_fp8_cores("FP4", hardware)
    major, minor = hardware.gpus[0].compute_capability
    return f"FP4 not supported on this GPU (sm {major}.{minor})"


def store_fp8(format: str, per_row: bool, weight: "Tensor") -> StoredWeight:
    """`fp8.quantize`, loaded when called."""
    from wanvideo.quantization import fp8

    return fp8.quantize(weight, format, per_row=per_row)


def store_nvfp4(tensor_scale: bool, weight: "Tensor") -> StoredWeight:
    """`nvfp4.quantize`, loaded when called."""
    from wanvideo.quantization import nvfp4

    return nvfp4.quantize(weight, tensor_scale=tensor_scale)


def dequantizing(stored: StoredWeight, bias: "Tensor | None", dtype: "torch.dtype") -> "nn.Linear":
    """A linear that makes its weight dense for each call."""
    from wanvideo.quantization.linear import make_linear

    return make_linear(stored, bias, dtype)


def on_tensor_cores(stored: StoredWeight, bias: "Tensor | None", dtype: "torch.dtype") -> "nn.Linear":
    """A linear that multiplies in the low precision, where format and sizes allow it."""
    from wanvideo.quantization.linear import make_linear

    return make_linear(stored, bias, dtype, fast=True)


def on_fp4_cores(stored: StoredWeight, bias: "Tensor | None", dtype: "torch.dtype") -> "nn.Linear":
    """As `on_tensor_cores`, but NVFP4 weights are multiplied in FP4."""
    from wanvideo.quantization.linear import make_linear

    return make_linear(stored, bias, dtype, fast=True, fp4=True)
