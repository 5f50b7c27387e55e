"""A checkpoint that can't be used, with what it would have been: the planner tells of it only where it
matters.
"""

from dataclasses import dataclass
from pathlib import Path

from wanvideo.errors import UserError

OTHER = "other"  # no part of a Wan 2.1 model
UNREADABLE = "unreadable"  # damaged, incomplete or of a format that hides what it is


class RefusedCheckpoint(UserError):
    """Why a file can't be used. `component` as in CheckpointFacts, or OTHER or UNREADABLE; `task_hint` is
    t2v or i2v where it is known.
    """

    def __init__(
        self,
        what: str,
        *,
        value: object = None,
        fix: str = "",
        component: str = OTHER,
        task_hint: str | None = None,
    ) -> None:
        super().__init__(what, value=value, fix=fix)
        self.component, self.task_hint = component, task_hint


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A file of the models folder that can't be used; `sentence` says what it is and why."""

    path: Path
    sentence: str
    component: str
    task_hint: str | None = None

    @classmethod
    def of(cls, path: Path, error: UserError) -> "Refusal":
        """From the error that inspecting `path` raised."""
        if isinstance(error, RefusedCheckpoint):
            return cls(path=path, sentence=str(error), component=error.component, task_hint=error.task_hint)
        return cls(path=path, sentence=str(error), component=UNREADABLE)
