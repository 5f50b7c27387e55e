"""A download in the background of the page: started, watched and stopped from any tab."""

import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from wanvideo.downloads.catalog import KnownFile
from wanvideo.downloads.download import download
from wanvideo.downloads.progress import DownloadEvent
from wanvideo.errors import Cancelled, UserError

log = logging.getLogger(__name__)

IDLE, RUNNING, DONE, FAILED, STOPPED = "idle", "running", "done", "failed", "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A snapshot: what is downloaded (`title`), how it stands, the last event, and why it failed."""

    state: str = IDLE
    title: str = ""
    event: DownloadEvent | None = None
    error: str = ""
    stopping: bool = False


class Downloads:
    """One download at a time, in a thread of its own; it ends with the process and can be taken up again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Running()

    @property
    def now(self) -> Running:
        """How it stands at this moment."""
        return self._now

    def start(self, title: str, files: Iterable[KnownFile], folder: Path) -> None:
        """Begin. Raises UserError while another one runs."""
        with self._lock:
            if self._now.state == RUNNING:
                raise UserError(
                    f"{self._now.title} is being downloaded", fix="Stop it or wait until it ends."
                )
            self._now = Running(state=RUNNING, title=title)
        threading.Thread(target=self._run, args=(tuple(files), folder), daemon=True).start()

    def stop(self) -> None:
        """Ask the running download to stop; what arrived is kept."""
        with self._lock:
            if self._now.state == RUNNING:
                self._now = replace(self._now, stopping=True)

    def _run(self, files: tuple[KnownFile, ...], folder: Path) -> None:
        try:
            download(files, folder, self._heard)
        except Cancelled:
            self._end(STOPPED)
        except (UserError, OSError) as error:
            log.warning("download failed: %s", error)
            self._end(FAILED, str(error))
        except BaseException:
            self._end(FAILED, "the download ended unexpectedly; the log tells more")
            raise
        else:
            self._end(DONE)

    def _heard(self, event: DownloadEvent) -> None:
        with self._lock:
            if self._now.stopping:
                raise Cancelled
            self._now = replace(self._now, event=event)

    def _end(self, state: str, error: str = "") -> None:
        with self._lock:
            self._now = replace(self._now, state=state, error=error, stopping=False)
