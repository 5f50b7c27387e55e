"""Keeps one worker process alive for as long as the page runs."""

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from wanvideo.jobs.card_errors import CARD_BROKEN, FRESH_PROCESS
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.worker import worker_name

log = logging.getLogger(__name__)

ROOT = Path(__file__).parents[2]
RESTART_SECONDS = 0.5  # doubled for each worker that dies young
LONGEST_PAUSE = 60.0
STOP_SECONDS = 8.0
WANTS_RESTART = (CARD_BROKEN, FRESH_PROCESS)  # what a worker ends with that has put its job in order


class Supervisor:
    """Starts a worker of `store`, starts it again when it dies, and ends it with `stop`. `number`: which of
    several workers it is, from 0; `environment`: what it finds there beside our own.
    """

    def __init__(
        self,
        store: JobStore,
        module: str = "wanvideo.jobs.worker",
        *,
        number: int = 0,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._store, self._module, self._number = store, module, number
        self._environment = dict(environment or {})
        self._stopping = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)

    def start(self) -> None:
        """Return at once; the worker comes up in the background. What was suspected gets another chance."""
        self._store.clear_suspects()
        self._process = self._launch()
        self._thread.start()

    def stop(self) -> None:
        """Ask the worker to leave, and end it when it does not. A job in work goes back to the queue."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        if process.stdin:
            process.stdin.close()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._store.abandon(worker_name(process.pid), counted=False)

    def wait(self) -> None:
        """Block until interrupted or stopped."""
        self._stopping.wait()

    @property
    def pid(self) -> int | None:
        """The worker's process id."""
        return self._process.pid if self._process else None

    def _watch(self) -> None:
        pause = RESTART_SECONDS
        while self._process is not None:
            begun = time.monotonic()
            status = self._process.wait()
            died = not self._stopping.is_set()
            self._store.abandon(worker_name(self._process.pid), counted=died)
            is_fine = status in WANTS_RESTART or time.monotonic() - begun > LONGEST_PAUSE
            pause = RESTART_SECONDS if is_fine else min(2 * pause, LONGEST_PAUSE)
            if self._stopping.wait(pause):
                return
            log.warning("the worker ended with status %s and is started again", status)
            self._process = self._launch()

    def _launch(self) -> "subprocess.Popen[bytes]":
        paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
        path = {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        environment = {**os.environ, **path, **self._environment}
        command = [sys.executable, "-m", self._module, str(self._store.path), str(self._number)]
        return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment)
