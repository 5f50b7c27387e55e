"""The worker over real models and files: a video, a bad input, a fault, a stop, a death and an orphan."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from PIL import Image

from tests.tiny_models import write_tiny_models
from wanvideo.jobs.job import DONE, FAILED, QUEUED, RUNNING, STOPPED, Job
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.supervisor import Supervisor
from wanvideo.jobs.worker import LOG_NAME, Generate, run_worker
from wanvideo.media.probe import probe_video
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.plan import GenerationPlan
from wanvideo.request import GenerationRequest, ProgressEvent, RuntimeOptions
from wanvideo.stage_clock import Progress

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def options(models: Path, tmp_path: Path) -> RuntimeOptions:
    return RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path / "out"))


def ball(**changes: object) -> GenerationRequest:
    return GenerationRequest(**{"task": "text_to_video", "prompt": "a red ball", "seed": 1, **changes})  # type: ignore[arg-type]


def work(store: JobStore, make: Generate, until: Callable[[], bool], seconds: float = 60) -> None:
    """Run a worker in a thread until `until`."""
    leaving = Event()
    keywords = {"generate": make, "name": "w", "leaving": leaving}
    thread = threading.Thread(target=run_worker, args=(store,), kwargs=keywords)
    thread.start()
    try:
        wait_for(until, seconds)
    finally:
        leaving.set()
        thread.join(30)
    assert not thread.is_alive()


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.05)


def get(store: JobStore, number: int) -> Job:
    job = store.get(number)
    assert job is not None
    return job


def test_a_bad_job_does_not_keep_the_next_one_from_its_video(
    store: JobStore, options: RuntimeOptions, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    bad = store.add(GenerationRequest(task="image_to_video", image=str(empty), seed=1), options)
    good = store.add(ball(), options)
    work(store, generate, lambda: get(store, good).state == DONE)
    assert get(store, bad).state == FAILED and "empty.png" in get(store, bad).error
    result = get(store, good).result
    assert probe_video(result["output"]).frames == result["effective"]["frames"] == 9
    assert result["seconds"] > 0 and result["stages"]["denoise"] > 0
    assert Image.open(get(store, good).preview or "").size == (8, 8)


def test_a_fault_is_logged_under_the_id_that_the_card_shows(
    store: JobStore, options: RuntimeOptions, caplog: pytest.LogCaptureFixture
) -> None:
    def faulty(*_: object) -> None:
        raise ZeroDivisionError("inside")

    number = store.add(ball(), options)
    work(store, faulty, lambda: get(store, number).state == FAILED)
    error = get(store, number).error
    assert "ZeroDivisionError" in error and LOG_NAME in error and "inside" not in error
    log_id = error.rstrip(".").rpartition(" ")[2]
    assert any(log_id in record.getMessage() and "inside" in record.getMessage() for record in caplog.records)


def test_a_stopped_job_keeps_its_finished_windows(
    store: JobStore, options: RuntimeOptions, tmp_path: Path
) -> None:
    picture = tmp_path / "face.png"
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(picture)
    number = store.add(GenerationRequest(task="talk", image=str(picture), num_frames=13, seed=1), options)

    def stopping(plan: GenerationPlan, cache: ModelCache, progress: Progress) -> object:
        def watch(event: ProgressEvent) -> None:
            if event.window == 1:
                store.request_stop(number)
            progress(event)

        return generate(plan, cache, watch)

    work(store, stopping, lambda: get(store, number).state == STOPPED)
    assert probe_video(get(store, number).result["output"]).frames == 9


def test_a_leaving_worker_puts_its_job_back(store: JobStore, options: RuntimeOptions) -> None:
    number = store.add(ball(), options)
    begun = Event()

    def endless(_plan: GenerationPlan, _cache: ModelCache, progress: Progress) -> None:
        while True:
            begun.set()
            progress(ProgressEvent(stage="denoise"))
            time.sleep(0.01)

    work(store, endless, begun.is_set)
    job = get(store, number)
    assert (job.state, job.attempts) == (QUEUED, 0)
    assert job.output, "the next attempt takes up the same windows"


def test_a_killed_worker_is_replaced_and_its_job_is_made(store: JobStore, options: RuntimeOptions) -> None:
    number = store.add(ball(num_inference_steps=300), options)
    supervisor = Supervisor(store)
    supervisor.start()
    try:
        wait_for(lambda: get(store, number).state == RUNNING)
        first = supervisor.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: get(store, number).state == DONE)
        assert supervisor.pid != first and get(store, number).attempts == 2
    finally:
        supervisor.stop()
    assert probe_video(get(store, number).result["output"]).frames == 9


def test_a_worker_ends_with_the_program_that_started_it(store: JobStore) -> None:
    command = [sys.executable, "-m", "wanvideo.jobs.worker", str(store.path)]
    worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    wait_for((store.path.parent / LOG_NAME).exists)
    assert worker.stdin is not None
    worker.stdin.close()  # what the system does when the page's process ends in any way
    assert worker.wait(30) == 0
