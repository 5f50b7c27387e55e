"""Query, key and value of an attention: three products, or one where the weights were joined."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from wanvideo.models.in_one_pass import product_of_rows, products_of_norm
from wanvideo.models.norm_modulation import norm_modulate
from wanvideo.quantization.joined import LinearPart, join_linears, split_product, why_apart

# The linears of a block that share their input: of self-attention, and of cross-attention to the text.
GROUPS: Mapping[str, tuple[str, ...]] = {"attn1": ("to_q", "to_k", "to_v"), "attn2": ("to_k", "to_v")}


def project(attention: Any, place: str, states: Tensor) -> tuple[Tensor, ...]:
    """The outputs (B, rows, dim) of the linears of `GROUPS[place]` for `states`, before their norms. Of
    joined weights they are views of one tensor.
    """
    linears = [attention.get_submodule(name) for name in GROUPS[place]]
    if attention.joined is None:
        return tuple(linear(states) for linear in linears)
    return tuple(split_product(attention.joined(states), linears, states))


def project_normed(
    attention: Any, place: str, norm: nn.LayerNorm, rows: Tensor, modulation: tuple[Tensor, Tensor]
) -> tuple[Tensor, ...]:
    """`project` of rows (B, rows, dim) that are first normed, scaled and shifted; see `norm_modulate`."""
    linears = [attention.get_submodule(name) for name in GROUPS[place]]
    joined = attention.joined
    products = None
    if joined is None:
        products = products_of_norm(linears, norm, rows, modulation)
    elif not any(len(part.branches) for part in linears):
        whole = products_of_norm([joined], norm, rows, modulation)
        products = None if whole is None else split_product(whole[0], linears, rows)
    if products is None:
        return project(attention, place, norm_modulate(norm, rows, *modulation))
    return tuple(products)


def project_out(linear: nn.Module, attended: Tensor) -> Tensor:
    """The linear behind an attention: (..., dim) -> (..., dim)."""
    product = product_of_rows(linear, attended)
    return linear(attended) if product is None else product


def find_rows(model: nn.Module, name: str) -> tuple[nn.Module, slice]:
    """The module that has the weight and bias of the layer `name`, and which rows of them are its own: of a
    joined linear those of the part, else all.
    """
    linear = model.get_submodule(name)
    if not isinstance(linear, LinearPart):
        return linear, slice(None)
    place, _, own = name.rpartition(".")
    attention: Any = model.get_submodule(place)
    names = GROUPS[place.rpartition(".")[2]]
    first = sum(attention.get_submodule(other).out_features for other in names[: names.index(own)])
    return attention.joined, slice(first, first + linear.out_features)


def join_projections(blocks: nn.ModuleList) -> dict[str, int]:
    """Join the linears of `GROUPS` in every block, one group after the other, so that only one is in memory
    twice. Returns how many groups there are that stay apart, for each reason.

    A part keeps its name in the module: LoRA branches are added to it and removed as before.
    """
    apart: Counter[str] = Counter()
    for block in blocks:
        for place, names in GROUPS.items():
            attention: Any = block.get_submodule(place)
            linears = [attention.get_submodule(name) for name in names]
            if all(isinstance(linear, LinearPart) for linear in linears):
                continue
            dense = [linear for linear in linears if isinstance(linear, nn.Linear)]
            reason = why_apart(dense)
            if reason is not None:
                apart[reason] += 1
                continue
            attention.joined = join_linears(dense)
            for name, linear in zip(names, dense, strict=True):
                setattr(attention, name, LinearPart(linear))
    return dict(apart)
