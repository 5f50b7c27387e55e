"""Program: which kernels of Triton's stand in the graph of a block that is compiled for a card, found on any
machine. Prints JSON: for each mode, joined or not, with a LoRA or without, their names, or why there is no
graph.

A process of its own, as kernels have to be compilable ones here, and interpreted ones in other tests.
"""

import itertools
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
import torch.utils._triton
from torch._higher_order_ops.triton_kernel_wrap import kernel_side_table

from tests.models.test_projections import run, talk_model
from tests.tiny_models import write_tiny_models
from wanvideo.compiled_blocks import compiled_blocks
from wanvideo.errors import UserError
from wanvideo.models import feed_forward, in_one_pass, norm_modulation, norm_rotation
from wanvideo.models.transformer import WanTransformer

MODES = ("disabled", "fp8_e4m3fn_scaled_fast", "fp4_scaled_fast")
WITH_LORA = ("fp8_e4m3fn_scaled_fast",)
FOUND = "the graph is complete"


def main() -> None:
    torch.utils._triton.has_triton = lambda: True  # it asks for a card; dynamo then knows kernels as such
    for place in (feed_forward, in_one_pass, norm_modulation, norm_rotation):
        place.compiled_for_card = lambda _: torch.compiler.is_compiling()
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout.write(json.dumps(dict(cases(write_tiny_models(Path(folder))))))


def cases(folder: Path) -> Iterator[tuple[str, dict[str, int] | str]]:
    for mode, joined in itertools.product(MODES, (False, True)):
        for lora in (False, True) if mode in WITH_LORA else (False,):
            name = " ".join([mode, *["joined"] * joined, *["LoRA"] * lora])
            yield name, kernels(made(folder, mode, joined=joined, lora=lora))


def made(folder: Path, mode: str, *, joined: bool, lora: bool) -> WanTransformer:
    model = talk_model(folder, mode)
    if joined:
        model.join_projections()
    if lora:
        key: Any = model.get_submodule("blocks.0.attn1.to_k")
        key.add_lora("a", torch.ones(4, key.in_features), torch.ones(key.out_features, 4), 1.0)
    return model


@torch.no_grad()
def kernels(model: WanTransformer) -> dict[str, int] | str:
    torch._dynamo.reset()
    counted: Counter[str] = Counter()

    def backend(graph: torch.fx.GraphModule, _: list[torch.Tensor]) -> Callable[..., Any]:
        for node in graph.graph.nodes:
            if "kernel_idx" in node.kwargs:
                kernel: Any = kernel_side_table.get_kernel(node.kwargs["kernel_idx"])
                constants = kernel_side_table.get_constant_args(node.kwargs["constant_args_idx"])
                counted[kernel.fn.__name__ + " to fp8" * constants.get("TO_FP8", False)] += 1
        raise RuntimeError(FOUND)

    try:
        with compiled_blocks(model.blocks, lambda _: None, backend=backend, falls_back=False):
            run(model)
    except UserError as error:
        if FOUND not in str(error):
            return str(error)
    return dict(counted)


if __name__ == "__main__":
    main()
