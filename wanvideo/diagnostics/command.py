"""One command of this program at a time, in a process of its own, watched by every visitor."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace

from wanvideo.diagnostics.places import PROJECT
from wanvideo.errors import UserError

log = logging.getLogger(__name__)

IDLE, RUNNING, DONE, FAILED, STOPPED = "idle", "running", "done", "failed", "stopped"
MOST_LINES = 400
_HIDDEN = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows only: no console pops up over the page


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandState:
    """A snapshot: the command's name, how it stands and the last lines that it wrote."""

    name: str = ""
    state: str = IDLE
    lines: tuple[str, ...] = ()


class Command:
    """Runs `python -m wanvideo ARGUMENTS` in the background."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = CommandState()
        self._process: subprocess.Popen[str] | None = None

    @property
    def now(self) -> CommandState:
        """How it stands at this moment."""
        return self._now

    def start(self, name: str, arguments: Sequence[str]) -> None:
        """Begin. Raises UserError while another one runs."""
        with self._lock:
            if self._now.state == RUNNING:
                raise UserError(f"{self._now.name} is running", fix="Stop it or wait until it ends.")
            self._process = _launch(arguments)
            self._now = CommandState(name=name, state=RUNNING)
        threading.Thread(target=self._listen, args=(self._process,), name=name, daemon=True).start()

    def stop(self) -> None:
        """End the running command."""
        with self._lock:
            if self._process is not None and self._now.state == RUNNING:
                self._now = replace(self._now, state=STOPPED)
                self._process.terminate()

    def _listen(self, process: "subprocess.Popen[str]") -> None:
        """Follow one process to its end. One that was stopped may end after the next has begun."""
        assert process.stdout is not None
        with process:
            for line in process.stdout:
                with self._lock:
                    if process is self._process:
                        lines = (*self._now.lines, line.rstrip())[-MOST_LINES:]
                        self._now = replace(self._now, lines=lines)
        status = process.returncode
        with self._lock:
            if process is self._process and self._now.state == RUNNING:
                self._now = replace(self._now, state=FAILED if status else DONE)
        log.info("a command ended with status %s", status)


def _launch(arguments: Sequence[str]) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8"}
    return subprocess.Popen(
        [sys.executable, "-m", "wanvideo", *arguments],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        errors="replace",
        creationflags=_HIDDEN,
    )
