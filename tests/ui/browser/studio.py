"""A running application with its queue, as the tests of the page find it and leave it."""

import time
from dataclasses import dataclass
from pathlib import Path

from wanvideo.jobs.job import PAUSED, QUEUED, RUNNING
from wanvideo.jobs.orders import resume_queue
from wanvideo.jobs.store import JobStore
from wanvideo.request import RuntimeOptions, read_options

QUIET_SECONDS = 200.0
OPEN = (QUEUED, RUNNING, PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """Where the page is, the queue behind it, the folder of its results and that of its models."""

    address: str
    store: JobStore
    output: Path
    models: Path

    def options(self) -> RuntimeOptions:
        """Those that the page gives each of its jobs."""
        return read_options({"output_dir": str(self.output), "models_dir": str(self.models)})

    def settle(self) -> None:
        """Nothing runs, nothing waits and no form is kept: the next test begins with an idle worker and an
        empty page.
        """
        resume_queue(self.store)
        with self.store.writing() as database:
            database.execute("DELETE FROM forms")
        end = time.monotonic() + QUIET_SECONDS
        while still_open := [job.id for job in self.store.list() if job.state in OPEN]:
            assert time.monotonic() < end, f"jobs {still_open} do not end"
            for number in still_open:
                self.store.request_stop(number)
            time.sleep(0.2)
