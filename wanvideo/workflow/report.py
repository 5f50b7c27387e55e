"""What became of a value of a workflow, and all that came of one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

TAKEN = "taken"  # it is in its field
OTHERWISE = "otherwise"  # known; this app does it in another way, or needs no such value
LEFT = "left"  # it does not fit its field, or what it is can't be told
MISSING = "missing"  # a file that is not here
UNKNOWN = "unknown"  # a node or a widget that no table has
UNUSED = "unused"  # a node that does not run
OUTCOMES = (TAKEN, LEFT, MISSING, UNKNOWN, OTHERWISE, UNUSED)

LONGEST_SHOWN = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One value of one node: `outcome` is one of OUTCOMES, `detail` a few words for people."""

    node: str
    widget: str = ""
    value: Any = None
    outcome: str
    detail: str

    @property
    def shown_value(self) -> str:
        """The value in one short line; empty for None."""
        text = "" if self.value is None else " ".join(str(self.value)[: 2 * LONGEST_SHOWN].split())
        return text if len(text) <= LONGEST_SHOWN else f"{text[: LONGEST_SHOWN - 1]}…"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowImport:
    """`values`: field -> value, checked, of request and options alike. `lines`: every value with its
    outcome, in the order of OUTCOMES.
    """

    values: Mapping[str, Any]
    lines: tuple[Line, ...]

    def count(self, outcome: str) -> int:
        """How many values came to that."""
        return sum(line.outcome == outcome for line in self.lines)

    def not_taken(self) -> tuple[Line, ...]:
        """Those that a person may want to look after."""
        return tuple(line for line in self.lines if line.outcome in (LEFT, MISSING, UNKNOWN))


def sorted_lines(lines: Iterable[Line]) -> tuple[Line, ...]:
    """By outcome, else as they came."""
    return tuple(sorted(lines, key=lambda line: OUTCOMES.index(line.outcome)))
