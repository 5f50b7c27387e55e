"""A process of its own for what may crash or hang; it takes nothing of this one with it."""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
_HOMES = (
    r"[\\/]+(?:home|Users)[\\/]+(?:[^\\/'\":;,]+(?=[\\/])|[^\s\\/'\":;,]+)"  # a user's name may have spaces
)
_FOLDERS = r"(?<![\w/\\])(?:~|[A-Za-z]:)?[\\/]+(?:[^\s\\/'\":;,]+[\\/]+)*"
ACCESS_VIOLATION = 0xC0000005  # how a segmentation fault ends a process on Windows


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the process ended: its exit code (None: it had to be ended), the JSON objects it answered with, and
    its last line on stderr.
    """

    code: int | None
    answers: tuple[dict[str, Any], ...]
    last_words: str

    @property
    def answer(self) -> dict[str, Any] | None:
        """The last one."""
        return self.answers[-1] if self.answers else None

    @property
    def says_nothing(self) -> bool:
        """Whether memory ran out, or the system took it back: the next time may go well."""
        killed = sys.platform != "win32" and self.code == -signal.SIGKILL
        return killed or bool(self.answer and self.answer.get("out_of_memory"))


def run_isolated(arguments: Sequence[str], timeout: float) -> Ending:
    """`python -m wanvideo.proof ARGUMENTS`, ended with all its children after `timeout` seconds.

    Its output goes to files: a pipe would stay open as long as any child of a crashed compiler holds it.
    """
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, "-m", "wanvideo.proof", *arguments]
    with tempfile.TemporaryFile() as answer, tempfile.TemporaryFile() as complaints:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=complaints,
            env=environment,
            start_new_session=True,
        )
        code = _wait(process, timeout)
        said = _text(complaints)
        log.debug("%s: exit code %s\n%s", " ".join(arguments), code, said)
        return Ending(code=code, answers=_objects(_text(answer)), last_words=_last_line(said))


def why_it_failed(ending: Ending, timeout: float) -> str:
    """The reason in a few words, without any path; empty when there is an answer and no fault in it."""
    if ending.code is None:
        return f"it gave no answer within {timeout:g} seconds"
    if ending.code < 0 or ending.code == ACCESS_VIOLATION:
        return f"it crashed ({_signal_name(ending.code)})"
    if ending.answer is None:
        return f"its process ended with exit code {ending.code}: {without_paths(ending.last_words)}"
    return without_paths(ending.answer.get("fault", ""))


def without_paths(text: str) -> str:
    """The text with the last part alone of each path in it, so that it names no user and no folder."""
    folders = {Path.home(), Path.cwd(), Path(sys.prefix), ROOT, Path(tempfile.gettempdir())}
    for folder in sorted(folders, key=lambda folder: -len(str(folder))):
        if folder.name:
            for written in (str(folder), str(folder).replace("\\", "\\\\")):  # as it is, and within quotes
                text = text.replace(written, "")
    return re.sub(_FOLDERS, "", re.sub(_HOMES, "", text))


def _wait(process: "subprocess.Popen[bytes]", timeout: float) -> int | None:
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        return None
    finally:
        if process.poll() is None:
            _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End the process and what it started; only POSIX knows process groups."""
    if sys.platform != "win32":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()


def _text(file: Any) -> str:
    file.seek(0)
    text: str = file.read().decode("utf-8", errors="replace")
    return text


def _objects(text: str) -> tuple[dict[str, Any], ...]:
    """Each line that is a JSON object. A process that was ended may have left half a line."""
    found = []
    for line in text.splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            log.debug("no JSON: %s", line)
    return tuple(answer for answer in found if isinstance(answer, dict))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def _signal_name(code: int) -> str:
    if code == ACCESS_VIOLATION:
        return "access violation"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
