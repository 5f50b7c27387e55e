"""The measured rows, kept as JSON: one table for each machine."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tools.pocket.quality.measure import Row
from wanvideo.errors import UserError

SAME_SYNC = 0.005  # of the exact row: what the number of threads may change


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineTable:
    """What one machine measured, and how; the exact row comes first."""

    machine: str
    torch: str
    dtype: str
    clips: int
    rows: tuple[Row, ...]


def load_tables(path: Path) -> list[MachineTable]:
    """The tables of a file; none when there is no file."""
    if not path.exists():
        return []
    return [
        MachineTable(**{**item, "rows": tuple(Row(**row) for row in item["rows"])})
        for item in json.loads(path.read_text(encoding="utf-8"))
    ]


def save_tables(path: Path, tables: Iterable[MachineTable]) -> None:
    """Write the tables; a run that is stopped leaves the old file."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps([asdict(table) for table in tables], indent=1) + "\n", encoding="utf-8")
    partial.replace(path)


def of_machine(tables: Iterable[MachineTable], machine: str) -> MachineTable | None:
    """The table of that machine."""
    return next((table for table in tables if table.machine == machine), None)


def with_table(tables: list[MachineTable], new: MachineTable) -> list[MachineTable]:
    """`new` in the place of its machine's table, or at the end."""
    if of_machine(tables, new.machine) is None:
        return [*tables, new]
    return [new if table.machine == new.machine else table for table in tables]


def with_rows(kept: MachineTable, new: MachineTable) -> MachineTable:
    """`kept` with the rows of `new` in the place of those of their names, or at the end."""
    rows = {(row.option, row.name): row for row in (*kept.rows, *new.rows)}
    return replace(kept, rows=tuple(rows.values()))


def check_same(kept: MachineTable, new: MachineTable) -> None:
    """Whether rows of `new` may stand beside those of `kept`. Raises UserError when they were measured in
    another way, or when the exact row, the first, tells of other weights or clips.
    """
    for what in ("torch", "dtype", "clips"):
        before, now = getattr(kept, what), getattr(new, what)
        if before != now:
            raise _cannot_join(f"{what} {before}", now)
    before, now = kept.rows[0].lip_sync, new.rows[0].lip_sync
    if before is not None and now is not None and abs(before - now) > SAME_SYNC:
        raise _cannot_join(f"an exact lip-sync of {before:.3f}", f"{now:.3f}")


def _cannot_join(before: str, now: object) -> UserError:
    return UserError(
        f"the kept rows of this machine have {before}, this run has {now}",
        fix="Measure all rows: leave --only out.",
    )
