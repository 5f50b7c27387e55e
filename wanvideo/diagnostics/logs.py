"""The end of the worker's log."""

from collections import deque
from collections.abc import Mapping
from pathlib import Path

from wanvideo.diagnostics.places import without_places
from wanvideo.errors import UserError
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.worker import LOG_NAME

LONGEST_LINE = 400
READ_BYTES = 600_000  # from the end; the whole log is at most a few megabytes


def log_tail(output_dir: str | Path, lines: int, places: Mapping[str, str]) -> list[str]:
    """The last `lines` of worker.log without folders; empty when there is no log. Raises UserError for one
    that can't be read.
    """
    path = queue_file(output_dir).with_name(LOG_NAME)
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - READ_BYTES))
            written = file.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"{LOG_NAME} can't be read: {error.strerror or error}") from error
    last = deque(written.splitlines(), lines)
    return [without_places(line, places)[:LONGEST_LINE] for line in last]
