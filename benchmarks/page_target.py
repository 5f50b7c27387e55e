"""What the page and its queue add to a job, as `python -m tools.page_figures` measures it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.target_row import Bench, Found, Goal, Target, value_at_most
from tools.page_figures.crowd import crowd
from tools.page_figures.measuring import OVERHEAD_MS, jobs
from tools.page_figures.server import running_page
from wanvideo.jobs.job import queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.prepare import POCKET

JOBS = 5


def _page(bench: Bench) -> Found:
    """From the click to the file, without the engine's own seconds: the worst of some jobs."""
    bench.forget()
    with TemporaryDirectory() as folder:
        store = JobStore(queue_file(Path(folder) / "out"))
        crowd(store, 1, 0)
        with running_page(Path(folder), "--models-dir", str(POCKET)) as port:
            first_step, beyond = jobs(port, store, 1 if bench.quick else JOBS)
    return Found(
        value=beyond.worst / 1e3,
        unit="s",
        how=f"worst of {len(beyond.values)} jobs; click to first step {first_step.worst / 1e3:.2f} s",
    )


TARGETS = (
    Target(
        name="page and queue, beside the engine",
        measure=_page,
        goal=Goal(text="<= 0.5 s", is_met=value_at_most(OVERHEAD_MS / 1e3)),
        needs_card=False,
    ),
)
