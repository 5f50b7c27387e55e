"""What a command found out, in words and in values, and what it needs of the terminal."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from wanvideo.errors import UserError
from wanvideo.progress_bar import Progress, ProgressBar, stoppable


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`lines` for people, `values` for --json; `problem` is what makes the command end with exit code 2."""

    lines: tuple[str, ...]
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Console:
    """`ask`: a question with yes or no. `watch`: a context that gives a progress callback and turns Ctrl+C
    into Cancelled.
    """

    ask: Callable[[str], bool]
    watch: Callable[[], AbstractContextManager[Progress]]


def _ask(question: str) -> bool:
    """Raises UserError where nobody can answer."""
    if not sys.stdin.isatty():
        raise UserError("there is nobody to ask here", fix="Add --yes.")
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def _watched() -> Iterator[Progress]:
    """Progress on stderr."""
    bar = ProgressBar(sys.stderr)
    try:
        with stoppable(bar) as progress:
            yield progress
    finally:
        bar.close()


TERMINAL = Console(ask=_ask, watch=_watched)
