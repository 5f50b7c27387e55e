"""Matmul kernels that do as they are told: a package under the name of comfy-kitchen, and torch's fp8 product
in the processes that trials start.
"""

import os
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from wanvideo.registry import QuantizationMode, quantization_modes

FP4, FP8 = "FAKE_FP4", "FAKE_FP8"  # variables that name what the kernel does; unset, it is right
KITCHEN = """
    import ctypes, os, time
    import torch
    from wanvideo.quantization import nvfp4
    from wanvideo.registry import StoredWeight

    DENSE = {}
    HOW = os.environ.get("FAKE_FP4")
    if HOW == "is_absent":
        raise ImportError("libcublasLt.so.13: cannot open shared object file")

    def quantize_nvfp4(rows, scale, pad_16x):
        return rows, None

    def scaled_mm_nvfp4(rows, weight, *, tensor_scale_b, block_scale_b, out_dtype, **_):
        print("kernels like to print", flush=True)
        if HOW == "crashes":
            ctypes.string_at(0)
        if HOW == "hangs":
            time.sleep(600)
        if HOW == "is_slow":
            time.sleep(0.05)
        if weight.data_ptr() not in DENSE:
            tensors = {"weight": weight, "weight_scale": block_scale_b, "weight_scale_2": tensor_scale_b}
            stored = StoredWeight(format="nvfp4", tensors=tensors, shape=(len(weight), 2 * weight.shape[1]))
            DENSE[weight.data_ptr()] = nvfp4.dequantize(stored, torch.float32)
        product = rows.float() @ DENSE[weight.data_ptr()].T
        if HOW == "lies":
            product *= 1.2
        return product.to(out_dtype)
"""
STARTUP = """
    import os
    HOW = os.environ.get("FAKE_FP8")
    if HOW:
        import torch
        right = torch._scaled_mm

        def fake(*operands, **how):
            if HOW == "crashes":
                os.abort()
            if HOW == "raises":
                raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED when calling cublasLtMatmulAlgoGetHeuristic")
            product = right(*operands, **how)
            product[:, -16:] = 0  # the last tile
            return product

        torch._scaled_mm = fake
"""


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the kernels on the path of the processes that this one starts; here nothing changes."""
    for place, text in (("comfy_kitchen/__init__.py", KITCHEN), ("sitecustomize.py", STARTUP)):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_text(textwrap.dedent(text), encoding="utf-8")
    paths = [str(folder), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


def on_any_machine(row: QuantizationMode) -> QuantizationMode:
    """The row, as if this processor had all tensor cores."""
    cores = row.cores and replace(row.cores, unavailable_reason=lambda _: None)
    return replace(row, unavailable_reason=lambda _: None, cores=cores)


FAST = {row.name: on_any_machine(row) for row in quantization_modes().values() if row.fallback is not None}
WITH_CORES = next(row for row in FAST.values() if row.cores is not None)
