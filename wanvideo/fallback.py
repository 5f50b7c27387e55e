"""Which option runs: the one asked for, or down its fallbacks to one this machine can run, each step said."""

from collections.abc import Mapping
from typing import TypeVar

from wanvideo.errors import UserError
from wanvideo.hardware import Hardware
from wanvideo.registry import AttentionBackend, QuantizationMode, resolve

AUTO = "auto"

Option = TypeVar("Option", AttentionBackend, QuantizationMode)


def choose(
    table: Mapping[str, Option], name: str, what: str, machine: Hardware, strict: bool, notes: list[str]
) -> Option:
    """The row of `table` that will run; "auto" takes the first that can. A note is added for each step down.

    Raises UserError for an unknown name, and for one that can't run here when `strict` or without a fallback.
    """
    if name == AUTO:
        return next(row for row in table.values() if row.unavailable_reason(machine) is None)
    row = resolve(table, name, what)
    while (reason := row.unavailable_reason(machine)) is not None:
        if strict or row.fallback is None:
            raise UserError(f"{what} {row.name} can't run here: {reason}", fix="Choose auto.")
        notes.append(f"{row.name}: {reason}; {row.fallback} runs instead")
        row = table[row.fallback]
    return row
