"""The two contracts an option must fulfil, and the tables made of the folders that hold the options.

A new attention backend or quantization mode is one new row in a tuple of its folder; nothing else in the
project names it.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from wanvideo.errors import UserError
from wanvideo.hardware import Hardware

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

AttentionFunction: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionPlace:
    """Where a self-attention stands: which block and which step (both from 0), over which video.

    The video has `frames` latent frames of `frame_tokens` tokens, and shows `speakers` who talk.
    `per_block_mean` is the option of that name.
    """

    block: int = 0
    blocks: int = 1
    step: int = 0
    steps: int = 1
    frames: int
    frame_tokens: int
    speakers: int = 1
    per_block_mean: str = "auto"


AttentionLoader: TypeAlias = Callable[[AttentionPlace], AttentionFunction]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBackend:
    """A way to compute softmax(q k^T / sqrt(d)) v on (batch, tokens, heads, head_dim), without a mask.

    `unavailable_reason` returns a sentence for people, or None when the backend can run on that machine.
    `load` imports what it needs and returns the function for a place; it is asked for every block before each
    step, so what it makes is kept, and equal places get the same object. It raises UserError when a package
    can't be imported. A higher `priority` comes earlier in "auto"; below 0 a backend is never chosen there.
    `has_block_mean`: the option per_block_mean is about it. `remark` says what differs from the label in the
    first block and step of a video.
    """

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    priority: int
    fallback: str | None
    unavailable_reason: Callable[[Hardware], str | None]
    load: AttentionLoader
    has_block_mean: bool = False
    remark: Callable[[AttentionPlace], str | None] = lambda _: None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredWeight:
    """A linear's weight as it is kept in a file, in memory, and between the two: payload and scales.

    `format` is a row of `quantization.formats.FORMATS`; `shape` is (out_features, in_features). `tensors` go
    by the names they have beside the layer in a file: "weight" and, where the format has them,
    "weight_scale", "weight_scale_2" and "input_scale":

    - dense: weight (out, in) in a float dtype.
    - e4m3, e5m2: weight (out, in) in fp8; weight_scale fp32 of one element, or of `out` elements in any
      shape, which MULTIPLIES the payload; none means 1. input_scale, if there is one, multiplies the
      activations' fp8 values.
    - int8: weight (out, in) in int8; weight_scale as for e4m3, and always there.
    - nvfp4: weight uint8 (out, in / 2), first element in the high nibble; weight_scale e4m3 in the 128x4
      swizzle; weight_scale_2 fp32 of one element, or (out, 1) where weights were joined: products on FP4
      tensor cores take only the first.
    - gguf: weight uint8 (out, bytes of a row); `kind` is the name of its type, as "Q4_K".
    """

    format: str
    tensors: "dict[str, Tensor]"
    shape: tuple[int, int]
    kind: str = ""

    @property
    def nbytes(self) -> int:
        """Bytes of payload and scales together."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors.values())


LinearMaker: TypeAlias = "Callable[[StoredWeight, Tensor | None, torch.dtype], nn.Linear]"


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnCores:
    """Tensor cores for a mode's own format, which some of its machines have: faster, and used only where a
    trial on the machine went well.

    `title` is their name in notes, `otherwise` tells what is done without them. `make_linear` is as that of
    the mode, for these cores.
    """

    title: str
    otherwise: str
    unavailable_reason: Callable[[Hardware], str | None]
    make_linear: LinearMaker


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationMode:
    """A way to store and multiply the big linears.

    A weight that a file holds in one of the formats `accepts` is taken over bit by bit; any other is made
    dense, (out, in), and given to `store`, which is None when dense weights stay dense. `make_linear` gives
    the module for a stored weight, its bias and the dtype that is computed in. A mode with a `fallback`
    multiplies in low precision, and its fallback keeps the same weights. A `scaled` mode has a scale where
    the plain one of its format has none, or fewer. `near`: other programs' modes that are refused, with this
    one as the nearest. `cores`: those that only some of the machines it runs on have.
    """

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    bytes_per_weight: float
    fallback: str | None
    unavailable_reason: Callable[[Hardware], str | None]
    accepts: frozenset[str]
    store: "Callable[[Tensor], StoredWeight] | None"
    make_linear: LinearMaker
    scaled: bool = False
    near: tuple[str, ...] = ()
    cores: OwnCores | None = None


Option = TypeVar("Option", AttentionBackend, QuantizationMode)


@cache
def attention_backends() -> dict[str, AttentionBackend]:
    """name -> backend, the preferred first."""
    rows = _discover("wanvideo.attention", "BACKENDS", AttentionBackend)
    return {row.name: row for row in sorted(rows, key=lambda row: -row.priority)}


@cache
def quantization_modes() -> dict[str, QuantizationMode]:
    """name -> mode, the densest storage last."""
    rows = _discover("wanvideo.quantization", "MODES", QuantizationMode)
    return {row.name: row for row in sorted(rows, key=lambda row: -row.bytes_per_weight)}


def resolve(table: Mapping[str, Option], name: str, what: str) -> Option:
    """The row of that name or alias. Raises UserError that lists the names there are."""
    for row in table.values():
        if name == row.name or name in row.aliases:
            return row
    near = [row.name for row in table.values() if isinstance(row, QuantizationMode) and name in row.near]
    fix = f"The nearest is {near[0]}." if near else f"Choose one of these, or leave {what} out."
    raise UserError(f"unknown {what}", value=name, allowed=sorted(table), fix=fix)


def _discover(package: str, constant: str, kind: type[Any]) -> list[Any]:
    """The rows of the tuple `constant` of every module in the folder; `SUPPORT` of the package names the
    modules that have none.
    """
    folder = importlib.import_module(package)
    rows: list[Any] = []
    for found in pkgutil.iter_modules(folder.__path__):
        if found.name in getattr(folder, "SUPPORT", frozenset()):
            continue
        own = getattr(importlib.import_module(f"{package}.{found.name}"), constant, None)
        if not isinstance(own, tuple) or not own or not all(isinstance(row, kind) for row in own):
            raise TypeError(f"{package}.{found.name} must define {constant} as a tuple of {kind.__name__}")
        rows += own
    names = [name for row in rows for name in (row.name, *row.aliases)]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}: a name or alias is taken twice: {sorted(names)}")
    return rows
