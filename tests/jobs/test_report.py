"""What the callback writes, how it measures, and when it stops a job."""

from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from wanvideo.errors import Cancelled
from wanvideo.jobs.job import Job
from wanvideo.jobs.report import JobReport, Pace
from wanvideo.jobs.store import JobStore
from wanvideo.request import GenerationRequest, ProgressEvent, RuntimeOptions


@pytest.fixture
def job(store: JobStore) -> Job:
    store.add(GenerationRequest(), RuntimeOptions())
    claimed = store.claim("w")
    assert claimed is not None
    return claimed


def test_stage_changes_are_written_at_once_and_steps_not_all(store: JobStore, job: Job) -> None:
    report = JobReport(store, job, Event())
    report(ProgressEvent(stage="text"))
    report(ProgressEvent(stage="denoise"))
    for step in range(1, 4):
        report(ProgressEvent(stage="denoise", step=step, steps=4))
    shown = store.list()[0].progress
    assert shown["stage"] == "denoise" and shown["step"] == 0, "steps within a fifth of a second wait"
    report(ProgressEvent(stage="denoise", step=4, steps=4))
    assert store.list()[0].progress["step"] == 4, "but the last one is shown"
    report(ProgressEvent(stage="decode"))
    assert store.list()[0].progress["stage"] == "decode"


def test_preview_is_a_picture_beside_the_queue(store: JobStore, job: Job) -> None:
    picture = np.full((8, 12, 3), 200, np.uint8)
    JobReport(store, job, Event())(ProgressEvent(stage="denoise", step=1, steps=2, preview=picture))
    preview = store.list()[0].preview
    assert preview is not None
    with Image.open(preview) as image:
        assert image.size == (12, 8)


def test_a_preview_that_is_being_read_is_not_worth_a_job(
    store: JobStore, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("used by another process")

    monkeypatch.setattr(Path, "replace", refuse)  # as Windows does
    picture = np.zeros((8, 8, 3), np.uint8)
    JobReport(store, job, Event())(ProgressEvent(stage="denoise", step=1, steps=2, preview=picture))
    shown = store.list()[0]
    assert shown.progress["step"] == 1 and shown.preview is None


def test_only_a_window_made_here_gives_the_attempts_back(store: JobStore, job: Job) -> None:
    def attempts_after(*events: tuple[str, int, int]) -> int:
        report = JobReport(store, job, Event())
        for stage, window, step in events:
            steps = 4 if step else 0
            report(ProgressEvent(stage=stage, window=window, windows=4, step=step, steps=steps))
        return store.list()[0].attempts

    assert attempts_after(("text", 0, 0), ("condition", 2, 0), ("denoise", 2, 4), ("save", 2, 0)) == 1
    assert attempts_after(("denoise", 2, 4), ("save", 2, 0), ("condition", 3, 0)) == 0


def test_a_stop_and_a_leaving_worker_cancel(store: JobStore, job: Job) -> None:
    leaving = Event()
    report = JobReport(store, job, leaving)
    report(ProgressEvent(stage="text"))
    leaving.set()
    with pytest.raises(Cancelled):
        report(ProgressEvent(stage="text"))
    leaving.clear()
    store.request_stop(job.id)
    with pytest.raises(Cancelled):
        report(ProgressEvent(stage="text"))


def test_pace_counts_all_windows_and_never_goes_back() -> None:
    pace = Pace()
    events = [(0, 0.0, 1), (0, 2.0, 2), (0, 4.0, 3), (1, 10.0, 1)]
    seen = [
        pace.measure(ProgressEvent(stage="denoise", window=window, windows=2, step=step, steps=3), now)
        for window, now, step in events
    ]
    assert [round(item["fraction"] or 0, 3) for item in seen] == [0.167, 0.333, 0.5, 0.667]
    assert seen[0]["eta"] is None and seen[0]["seconds_per_step"] is None
    assert seen[2]["seconds_per_step"] == 2 and seen[2]["eta"] == 6
    assert seen[3]["eta"] == pytest.approx(20 / 3), "the decoding between the windows counts"
    between = pace.measure(ProgressEvent(stage="decode", window=1, windows=2), 12.0)
    assert between["fraction"] == seen[3]["fraction"]
    assert between["eta"] == pytest.approx(20 / 3 - 2)
