"""INT8 weights: symmetric integers with an fp32 scale for each row or one for the tensor, as LightX2V and
optimum-quanto write them. Read, never made here.
"""

import torch
from torch import Tensor

from wanvideo.quantization.stored import StoredWeight


def dequantize(stored: StoredWeight, dtype: torch.dtype) -> Tensor:
    """The weight (out, in) in `dtype`; each element is rounded once."""
    weight = stored.tensors["weight"].to(dtype)  # exact: bf16, fp16 and fp32 hold every integer to 256
    return weight.mul_(stored.tensors["weight_scale"].reshape(-1, 1))
