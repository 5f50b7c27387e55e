"""What is measured: the answers of a page with a long queue, and the way of a job through it."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from tools.page_figures.visit import Answer, Visit
from wanvideo.jobs.job import DONE, FAILED, STOPPED, Job
from wanvideo.jobs.store import JobStore

ANSWER_MS = 300.0  # that a visitor waits
FIRST_STEP_MS = 500.0
OVERHEAD_MS = 500.0
QUIET_BYTES = 4096.0  # of a tick that has no news
JOB_SECONDS = 120.0
LOOK_SECONDS = 0.005
STEPS = "denoise"
FORM = {
    "radio": "text_to_video",
    "Prompt": "a red ball on a blue table",
    "Width": "64",
    "Height": "64",
    "Frames": "5",
    "Steps": "8",
    "Seed": 1,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row: values in `unit`, the worst of which must not be above `limit`."""

    what: str
    values: Sequence[float]
    limit: float
    unit: str = "ms"

    @property
    def worst(self) -> float:
        return max(self.values)

    @property
    def middle(self) -> float:
        return median(self.values)

    @property
    def holds(self) -> bool:
        return self.worst <= self.limit


def answers(port: int, times: int) -> list[Figure]:
    """The page opened, its clock's event and its forecast, each `times` times."""
    visit = Visit(port)
    first = [Visit(port).cause("tick", "queue") for _ in range(max(1, times // 6))]
    visit.cause("tick", "queue")
    quiet = _repeated(lambda: visit.cause("tick", "queue"), times)
    shown = [
        ("page opened", _repeated(visit.open, times)),
        ("first look at the queue", first),
        ("tick without news", quiet),
        ("forecast", _repeated(lambda: visit.cause("change", "forecast", FORM), times)),
    ]
    figures = [
        Figure(what=what, values=[answer.seconds * 1000 for answer in taken], limit=ANSWER_MS)
        for what, taken in shown
    ]
    sizes = [float(answer.size) for answer in quiet]
    return [*figures, Figure(what="tick without news", values=sizes, limit=QUIET_BYTES, unit="bytes")]


def _repeated(ask: Callable[[], Answer], times: int) -> list[Answer]:
    ask()
    return [ask() for _ in range(times)]


def jobs(port: int, store: JobStore, times: int) -> list[Figure]:
    """From the click to the first step, and what a job takes beyond the engine's own seconds; the first job,
    which loads the models, is not counted.
    """
    visit = Visit(port)
    taken = [_one_job(visit, store) for _ in range(times + 1)][1:]
    rows = {"click to first step": FIRST_STEP_MS, "job beyond the engine's time": OVERHEAD_MS}
    return [
        Figure(what=what, values=[seconds[place] * 1000 for seconds in taken], limit=limit)
        for place, (what, limit) in enumerate(rows.items())
    ]


def _one_job(visit: Visit, store: JobStore) -> tuple[float, float]:
    """Seconds from the click until the first step has begun, and seconds that are not the engine's."""
    newest = max(job.id for job in store.list())
    steps: list[float] = []
    watcher = threading.Thread(target=_watch, args=(store, newest + 1, steps), daemon=True)
    watcher.start()
    clicked = time.time()
    visit.cause("click", "generate", FORM)
    watcher.join(JOB_SECONDS)
    job = store.get(newest + 1)
    if job is None or job.state != DONE or job.ended is None or not steps:
        raise RuntimeError(f"the job is {job.state if job else 'not there'}: {job.error if job else ''}")
    return steps[0] - clicked, job.ended - clicked - job.result["seconds"]


def _watch(store: JobStore, number: int, steps: list[float]) -> None:
    """Writes down when the job's steps are begun as the store has it; returns when the job has ended."""
    end = time.monotonic() + JOB_SECONDS
    while time.monotonic() < end:
        job: Job | None = store.get(number)
        if job and job.progress.get("stage") == STEPS and not steps:
            steps.append(time.time())
        if job and job.state in (DONE, FAILED, STOPPED):
            return
        time.sleep(LOOK_SECONDS)
