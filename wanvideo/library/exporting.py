"""An export in the background of the page: started, watched and stopped from any tab."""

import logging
import threading
from dataclasses import dataclass, replace
from pathlib import Path

from wanvideo.errors import Cancelled, UserError
from wanvideo.library.export import export_video
from wanvideo.request import ProgressEvent

log = logging.getLogger(__name__)

IDLE, RUNNING, DONE, FAILED, STOPPED = "idle", "running", "done", "failed", "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exporting:
    """A snapshot: which video is written in which format, how far it is (`fraction` of 1), the finished file,
    and why it failed.
    """

    state: str = IDLE
    video: str = ""
    format: str = ""
    fraction: float = 0.0
    output: Path | None = None
    error: str = ""
    stopping: bool = False


class Exports:
    """One export at a time, in a thread of its own; it ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now = Exporting()

    @property
    def now(self) -> Exporting:
        """How it stands at this moment."""
        return self._now

    def start(self, video: Path, format_name: str) -> None:
        """Begin. Raises UserError while another one runs."""
        with self._lock:
            if self._now.state == RUNNING:
                raise UserError(
                    f"{self._now.video} is being saved in another format",
                    fix="Stop it or wait until it ends.",
                )
            self._now = Exporting(state=RUNNING, video=video.name, format=format_name)
        threading.Thread(target=self._run, args=(video, format_name), daemon=True).start()

    def stop(self) -> None:
        """Ask the running export to stop; nothing of it is kept."""
        with self._lock:
            if self._now.state == RUNNING:
                self._now = replace(self._now, stopping=True)

    def _run(self, video: Path, format_name: str) -> None:
        try:
            output = export_video(video, format_name, progress=self._heard)
        except Cancelled:
            self._end(state=STOPPED)
        except (UserError, OSError, RuntimeError) as error:
            log.warning("export failed: %s", error)
            self._end(state=FAILED, error=str(error))
        except BaseException:
            self._end(state=FAILED, error="the export ended unexpectedly; the log tells more")
            raise
        else:
            self._end(state=DONE, output=output)

    def _heard(self, event: ProgressEvent) -> None:
        with self._lock:
            if self._now.stopping:
                raise Cancelled
            self._now = replace(self._now, fraction=event.step / max(1, event.steps))

    def _end(self, *, state: str, output: Path | None = None, error: str = "") -> None:
        with self._lock:
            self._now = replace(self._now, state=state, output=output, error=error, stopping=False)
