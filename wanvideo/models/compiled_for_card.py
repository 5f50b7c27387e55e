"""Where a model may use what only compiled code on an NVIDIA card has."""

import torch
from torch import Tensor


def compiled_for_card(states: Tensor) -> bool:
    """Whether the calling code is being compiled for the card that has `states`. Its compiler needs Triton
    itself, so kernels written in it may stand there, and are tried with the blocks by `compile_trial`.
    """
    return torch.compiler.is_compiling() and states.device.type == "cuda"
