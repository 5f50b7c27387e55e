"""The one place that brings the model's tensors into the form a foreign attention kernel wants, and back."""

from collections.abc import Callable, Container
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias
from weakref import WeakKeyDictionary

from wanvideo.attention.sdpa import attend as exact_attention
from wanvideo.registry import AttentionFunction

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Watch: TypeAlias = "Callable[[str, Tensor, bool], None]"
MOST_ADDED = 1 / 500  # of the keys; the error is about the share of the added ones
# What `make_attention` made, and of what.
_CALLS: "WeakKeyDictionary[AttentionFunction, tuple[Kernel, AttentionFunction]]" = WeakKeyDictionary()


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """What a kernel takes; `name` becomes that of its custom op.

    Layout: (batch, tokens, heads, head_dim), or (batch, heads, tokens, head_dim) with `heads_first`; rows of
    head_dim are always dense, `packed` wants the whole tensor in one piece. Other dtypes than `dtypes` are
    cast to the first of them. Calls with another head_dim, or fewer tokens, are computed exactly. Tokens are
    filled up with zeros to a multiple of `pads_to`: only for a kernel that hides the added keys itself.
    `changes_key`: it writes into its key, so it gets a copy. Not `opaque`: torch.compile can look inside.
    `attends_padding_to`: it fills up keys to a multiple of that itself and lets the added ones take part, so
    calls where they would be more than `MOST_ADDED` of all are computed exactly.
    """

    name: str
    head_dims: Container[int]
    heads_first: bool = False
    dtypes: tuple[str, ...] = ("bfloat16", "float16")
    least_tokens: int = 1
    pads_to: int = 1
    packed: bool = False
    changes_key: bool = False
    attends_padding_to: int = 1
    opaque: bool = True

    def takes(self, query: "Tensor", key: "Tensor") -> bool:
        """Whether it can compute this call."""
        keys, head_dim = key.shape[1], query.shape[3]
        if -keys % self.attends_padding_to > MOST_ADDED * keys:
            return False
        return head_dim in self.head_dims and min(query.shape[1], keys) >= self.least_tokens


def make_attention(kernel: Kernel, call: AttentionFunction, title: str) -> AttentionFunction:
    """`call`, on tensors as `kernel` says, as a function on the model's (batch, tokens, heads, head_dim).

    The function never changes its arguments; its `__qualname__` is `title`, where the kernel comes from. The
    result is contiguous, in the dtype of the query. All of it stands inside the custom op: a copy made before
    it could be taken out by a compiler that trusts the op to write nowhere.
    """

    run = _prepared(kernel, call)
    attend = _or_exact(kernel, _custom_op(kernel.name, run) if kernel.opaque else run)
    attend.__qualname__ = title
    _CALLS[attend] = kernel, call
    return attend


def watched(attention: AttentionFunction, watch: Watch) -> AttentionFunction:
    """`attention`, which first shows `watch` what its kernel gets: "query", "key" or "value", the tensor, and
    whether that is to be in one piece. A function that is not of `make_attention` is returned as it is.

    For finding faults, not for compiled blocks: no custom op.
    """
    if attention not in _CALLS:
        return attention
    kernel, call = _CALLS[attention]

    def show(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
        for name, tensor in (("query", query), ("key", key), ("value", value)):
            watch(name, tensor, kernel.packed)
        return call(query, key, value)

    return _or_exact(kernel, _prepared(kernel, show))


def _prepared(kernel: Kernel, call: AttentionFunction) -> AttentionFunction:
    """`call` on the model's tensors, brought into the kernel's form and back."""

    def run(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
        dtype = _dtype(kernel, query.dtype)
        attended = call(
            _prepare(kernel, query, dtype),
            _prepare(kernel, key, dtype, own=kernel.changes_key),
            _prepare(kernel, value, dtype),
        )
        if kernel.heads_first:
            attended = attended.transpose(1, 2)
        return attended[:, : query.shape[1]].to(query.dtype).contiguous()

    return run


def _or_exact(kernel: Kernel, run: AttentionFunction) -> AttentionFunction:
    """`run` for calls that the kernel takes, exact attention for the others."""

    def attend(query: "Tensor", key: "Tensor", value: "Tensor") -> "Tensor":
        return (run if kernel.takes(query, key) else exact_attention)(query, key, value)

    return attend


def _prepare(kernel: Kernel, states: "Tensor", dtype: "torch.dtype", own: bool = False) -> "Tensor":
    """(batch, tokens, heads, head_dim) -> the kernel's form, with one copy at most; `own`: never the caller's
    memory.
    """
    import torch

    missing = -states.shape[1] % kernel.pads_to
    if kernel.heads_first:
        states = states.transpose(1, 2)
    if missing:
        padding = (0, 0, 0, missing) if kernel.heads_first else (0, 0, 0, 0, 0, missing)
        return torch.nn.functional.pad(states.to(dtype), padding)
    states = states.to(dtype, copy=own, memory_format=torch.contiguous_format)
    return states.contiguous() if kernel.packed or states.stride(-1) != 1 else states


def _dtype(kernel: Kernel, dtype: "torch.dtype") -> "torch.dtype":
    import torch

    taken: list[torch.dtype] = [getattr(torch, name) for name in kernel.dtypes]
    return dtype if dtype in taken else taken[0]


def _custom_op(name: str, run: AttentionFunction) -> AttentionFunction:
    """`run` as an op that torch.compile leaves whole."""
    import torch

    operator = torch.library.custom_op(
        f"wanvideo::{name}",
        run,
        mutates_args=(),
        schema="(Tensor query, Tensor key, Tensor value) -> Tensor",
    )
    operator.register_fake(lambda query, key, value: query.new_empty(query.shape))  # noqa: ARG005
    return operator
