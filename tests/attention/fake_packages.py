"""Stand-ins for kernels that no test machine has: they compute exact attention on the CPU and note what they
were given.
"""

import importlib
import pkgutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

import wanvideo.attention
from wanvideo.registry import AttentionPlace

# One function of a fake package. A kernel that writes into its key does so after it has read it.
SOURCE = """
import torch

CALLS = []

def {function}(q, k, v, **rest):
    layout = rest.get("tensor_layout", "{layout}")
    CALLS.append(dict(
        function="{function}", shape=tuple(q.shape), dtype=q.dtype, rest=rest,
        contiguous=all(states.is_contiguous() for states in (q, k, v)),
        dense=all(states.stride(-1) == 1 for states in (q, k, v)),
    ))
    swapped = [states.transpose(1, 2) if layout == "NHD" else states for states in (q, k, v)]
    attended = torch.nn.functional.scaled_dot_product_attention(*swapped)
    if {writes}:
        k -= k.mean(dim=1 if layout == "NHD" else 2, keepdim=True)
    attended = attended.transpose(1, 2) if layout == "NHD" else attended
    return {answer}
"""
FP8 = "sageattn_qk_int8_pv_fp8_cuda"


class Fake(NamedTuple):
    """A function in a module, and how it behaves. `more` is source that stands beside it."""

    module: str
    function: str
    layout: str = "NHD"
    writes: bool = False
    answer: str = "attended"
    more: str = ""


class Case(NamedTuple):
    """A backend with a package that provides it, and the limits of `options.md` 2."""

    backend: str
    fake: Fake
    head_dims: tuple[int, ...]  # of 64, 80, 128, 256, those that its kernel takes
    least_tokens: int = 1
    keys_in: int = 1  # keys are to fill blocks of so many, but for one in 500

    def takes(self, tokens: int, head_dim: int) -> bool:
        """Whether the kernel is to compute this call."""
        padded = -(-tokens // self.keys_in) * self.keys_in
        return head_dim in self.head_dims and tokens >= self.least_tokens and padded <= tokens * 1.002


SAGE_2 = Fake("sageattention", "sageattn", more=f"{FP8} = {FP8}_sm90 = sageattn")
SAGE_1 = Fake("sageattention", "sageattn", writes=True)
INT8 = Fake("comfy_kitchen.sage_attention", "int8_attention", "HND", more="def is_available(): return True")
SAGE_3 = {
    "sageattn3": Fake("sageattn3", "sageattn3_blackwell", "HND", True),
    "sage3": Fake("sage3", "sageattn3_blackwell", "HND", True, more="SAGEATTN3_AVAILABLE = True"),
    "sageattention, new name": Fake("sageattention", "sageattn3_blackwell", "HND", True),
    "sageattention, old name": Fake("sageattention", "sageattn_blackwell", "HND", True),
    "sageattn": Fake("sageattn", "sageattn_blackwell", "HND", True),
}
EVERY, UP_TO_128 = (64, 80, 128, 256), (64, 80, 128)
CASES = {
    "flash_attn_2": Case("flash_attn_2", Fake("flash_attn", "flash_attn_func"), EVERY),
    "flash_attn_3": Case("flash_attn_3", Fake("flash_attn_interface", "flash_attn_func"), EVERY),
    "flash_attn_3 with lse": Case(
        "flash_attn_3", Fake("flash_attn_interface", "flash_attn_func", answer="(attended, None)"), EVERY
    ),
    "flash_attn_4": Case(
        "flash_attn_4", Fake("flash_attn.cute", "flash_attn_func", answer="(attended, None)"), EVERY
    ),
    "xformers": Case("xformers", Fake("xformers.ops", "memory_efficient_attention"), EVERY),
    "sageattention 2": Case("sageattn", SAGE_2, UP_TO_128),
    "comfy-kitchen": Case("sageattn", INT8, UP_TO_128),
    "sageattention 1": Case("sageattn", SAGE_1, (64, 128), keys_in=64),
    "fp8": Case("sageattn_3_fp8", Fake("sageattention", FP8), UP_TO_128),
    "fp4": Case("sageattn_3_fp4", SAGE_3["sageattn3"], (64, 128), 128),
}
NO_KERNEL = Fake("comfy_kitchen", "nothing_of_use")  # hides the real package, whose kernel needs a card


def place(**changes: Any) -> AttentionPlace:
    """In the midst of blocks and steps: no backend makes an exception there."""
    middle = {"block": 1, "blocks": 3, "step": 2, "steps": 4, "frames": 3, "frame_tokens": 64}
    return AttentionPlace(**{**middle, **changes})


@contextmanager
def installed(folder: Path, *fakes: Fake) -> Iterator[None]:
    """The fakes, and no real package of their names, can be imported inside the `with`."""
    for fake in fakes:
        _write(folder, fake)
    names = {fake.module.partition(".")[0] for fake in fakes}
    real = _taken_out(names)
    sys.path.insert(0, str(folder))
    _forget()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        _taken_out(names)
        sys.modules.update(real)
        _forget()


def calls(fake: Fake) -> list[dict[str, Any]]:
    """What the fake was called with."""
    noted: list[dict[str, Any]] = sys.modules[fake.module].CALLS
    return noted


def exact(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d)) v in fp32."""
    scores = torch.einsum("bqhd,bkhd->bhqk", query.float(), key.float()) / query.shape[-1] ** 0.5
    return torch.einsum("bhqk,bkhd->bqhd", scores.softmax(-1), value.float())


def states(
    tokens: int, head_dim: int, dtype: torch.dtype = torch.bfloat16, heads: int = 2
) -> tuple[Tensor, ...]:
    """q, k, v (1, tokens, heads, head_dim); the keys have a mean that is far from 0."""
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(3, 1, tokens, heads, head_dim, generator=generator)
    drawn[1] += 2
    return tuple(drawn.to(dtype).unbind())


def _write(folder: Path, fake: Fake) -> None:
    *parents, name = fake.module.split(".")
    for depth in range(1, len(parents) + 1):
        inner = folder.joinpath(*parents[:depth])
        inner.mkdir(exist_ok=True)
        (inner / "__init__.py").touch()
    text = SOURCE.format(**{key: getattr(fake, key) for key in ("function", "layout", "writes", "answer")})
    with folder.joinpath(*parents, f"{name}.py").open("a") as file:
        file.write(f"{text}\n{fake.more}\n")


def _taken_out(packages: set[str]) -> dict[str, Any]:
    names = [name for name in sys.modules if name.partition(".")[0] in packages]
    return {name: sys.modules.pop(name) for name in names}


def _forget() -> None:
    """What was found out about packages and made of them."""
    importlib.invalidate_caches()
    for found in pkgutil.iter_modules(wanvideo.attention.__path__):
        module = importlib.import_module(f"wanvideo.attention.{found.name}")
        for thing in vars(module).values():
            if hasattr(thing, "cache_clear"):
                thing.cache_clear()
