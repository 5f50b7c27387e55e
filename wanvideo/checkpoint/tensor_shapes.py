"""The shape of a tensor that a model of its kind must have."""

from collections.abc import Mapping
from pathlib import Path

from wanvideo.checkpoint.tensor_info import TensorInfo
from wanvideo.errors import UserError


def shape_of_first(
    path: Path, tensors: Mapping[str, TensorInfo], *names: str, at_least: int = 1
) -> tuple[int, ...]:
    """Of the first of `names` that is there. Raises UserError when none is, or it has fewer dimensions."""
    found = next((tensors[name].shape for name in names if name in tensors), ())
    if not found:
        raise UserError(f"{path.name} is incomplete: the tensor {names[0]} is missing")
    if len(found) < at_least:
        raise UserError(f"{path.name} is damaged: the tensor {names[0]} has too few dimensions")
    return found
