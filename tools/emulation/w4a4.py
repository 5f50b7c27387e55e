"""What `fp4_scaled_fast` computes on FP4 tensor cores, in exact arithmetic on any device."""

from dataclasses import replace

import torch
from torch import Tensor

from wanvideo.quantization import nvfp4
from wanvideo.quantization.matmul import Multiply, choose_multiply
from wanvideo.quantization.stored import StoredWeight

ROWS, COLUMNS = 16, 32  # the FP4 kernel takes weights of multiples of these


def multiply(rows: Tensor, stored: StoredWeight, bias: Tensor | None) -> Tensor:
    """x W^T + bias as `wanvideo.quantization.matmul.scaled_nvfp4` on Blackwell: (M, K) -> a new (M, N).

    Activations become NVFP4 with a scale of the tensor, amax / (448 * 6) or the file's own. Codes times block
    scales are exact in float32; their products are summed there, multiplied by both tensor scales, rounded to
    fp16 for fp16 activations and else to bf16, and the bias is added.
    """
    scale = stored.tensors.get("input_scale")
    if scale is None:
        activations = nvfp4.quantize(rows)
        scale = activations.tensors["weight_scale_2"]
    else:
        activations = nvfp4.quantize(rows.float() / scale, tensor_scale=False)
    product = _without_tensor_scale(activations) @ _without_tensor_scale(stored).T
    product *= scale * stored.tensors["weight_scale_2"].float().reshape(1, -1)  # joined layers: one per row
    kernel_dtype = torch.float16 if rows.dtype == torch.float16 else torch.bfloat16
    dense = product.to(kernel_dtype).to(rows.dtype)
    return dense if bias is None else dense + bias


def multiply_for(stored: StoredWeight) -> Multiply:
    """`multiply` for the weights that the FP4 kernel takes; for others what the application has there."""
    if stored.format != "nvfp4" or stored.shape[0] % ROWS or stored.shape[1] % COLUMNS:
        return choose_multiply(stored, fast=True)
    return multiply


def _without_tensor_scale(stored: StoredWeight) -> Tensor:
    """Codes times block scales (out, in), exact in float32."""
    one = torch.ones((), device=stored.tensors["weight"].device)
    return nvfp4.dequantize(replace(stored, tensors={**stored.tensors, "weight_scale_2": one}), torch.float32)
