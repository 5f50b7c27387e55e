"""The two contracts an option must fulfil, and the tables made of the folders that hold the options.

A new attention backend or quantization mode is one new file with one constant; nothing else in the project
names it.
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
    from torch import Tensor, nn

AttentionFunction: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionBackend:
    """A way to compute softmax(q k^T / sqrt(d)) v on (batch, tokens, heads, head_dim), without a mask.

    `unavailable_reason` returns a sentence for people, or None when the backend can run on that machine;
    `load` imports what it needs and returns the function. A higher `priority` comes earlier in "auto".
    """

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    priority: int
    fallback: str | None
    unavailable_reason: Callable[[Hardware], str | None]
    load: Callable[[], AttentionFunction]


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizationMode:
    """A way to store and multiply the big linears. `make_linear` turns a dense one into the mode's own
    module.
    """

    name: str
    label: str
    aliases: tuple[str, ...] = ()
    bytes_per_weight: float
    fallback: str | None
    unavailable_reason: Callable[[Hardware], str | None]
    make_linear: "Callable[[nn.Linear], nn.Module]"


Option = TypeVar("Option", AttentionBackend, QuantizationMode)


@cache
def attention_backends() -> dict[str, AttentionBackend]:
    """name -> backend, the preferred first."""
    rows = _discover("wanvideo.attention", "BACKEND", AttentionBackend)
    return {row.name: row for row in sorted(rows, key=lambda row: -row.priority)}


@cache
def quantization_modes() -> dict[str, QuantizationMode]:
    """name -> mode, the densest storage last."""
    rows = _discover("wanvideo.quantization", "MODE", QuantizationMode)
    return {row.name: row for row in sorted(rows, key=lambda row: -row.bytes_per_weight)}


def resolve(table: Mapping[str, Option], name: str, what: str) -> Option:
    """The row of that name or alias. Raises UserError that lists the names there are."""
    for row in table.values():
        if name == row.name or name in row.aliases:
            return row
    raise UserError(
        f"unknown {what}", value=name, allowed=sorted(table), fix=f"Choose one of these, or leave {what} out."
    )


def _discover(package: str, constant: str, kind: type[Any]) -> list[Any]:
    rows = []
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        row = getattr(importlib.import_module(f"{package}.{found.name}"), constant, None)
        if not isinstance(row, kind):
            raise TypeError(f"{package}.{found.name} must define {constant} as a {kind.__name__}")
        rows.append(row)
    names = [name for row in rows for name in (row.name, *row.aliases)]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}: a name or alias is taken twice: {sorted(names)}")
    return rows
