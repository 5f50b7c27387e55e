"""PyTorch's process-wide switches for matrix products: set for the time of a job, then put back."""

import importlib.metadata
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache

FP16_ACCUMULATION_SINCE = (2, 7)  # the first PyTorch with that switch


@dataclass(frozen=True, slots=True, kw_only=True)
class TorchSwitches:
    """What a job turns on. What is off stays as PyTorch has it: tf32 in convolutions, none of the rest.

    `fp16_accumulation`: products of fp16 matrices are summed in fp16; `tf32`: fp32 matrices and convolutions
    are multiplied with 10 bits of mantissa; `cublaslt`: that library before cuBLAS.
    """

    fp16_accumulation: bool = False
    tf32: bool = False
    cublaslt: bool = False


@contextmanager
def switched(switches: TorchSwitches) -> Iterator[None]:
    """Turn on what `switches` says; afterwards, also after a failure, everything is as it was."""
    import torch

    matmul, prefer = torch.backends.cuda.matmul, torch.backends.cuda.preferred_blas_library
    wanted: list[tuple[object, str]] = []
    if switches.fp16_accumulation:
        wanted.append((matmul, "allow_fp16_accumulation"))
    if switches.tf32:
        # The older of PyTorch's two interfaces: after the newer one was used, reading the older one raises,
        # and other packages read it.
        wanted += [(matmul, "allow_tf32"), (torch.backends.cudnn, "allow_tf32")]
    before = [(place, name, getattr(place, name)) for place, name in wanted]
    library = prefer()
    try:
        for place, name in wanted:
            setattr(place, name, True)
        if switches.cublaslt:
            prefer("cublaslt")
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)
        if switches.cublaslt:
            prefer(library)


@cache
def torch_version() -> tuple[int, int]:
    """(major, minor) of the installed PyTorch, read without importing it, as that is slow."""
    found = re.match(r"(\d+)\.(\d+)", importlib.metadata.version("torch"))
    if found is None:
        raise ValueError(f"PyTorch has an unreadable version: {importlib.metadata.version('torch')}")
    return int(found[1]), int(found[2])
