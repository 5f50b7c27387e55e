"""The worker over real models and files: a video, a bad input, a fault, a stop, a death and an orphan."""

import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import torch
from PIL import Image

from tests.jobs.working import get, wait_for, work
from wanvideo.finished_file import job_folder
from wanvideo.jobs import supervisor as supervisor_module
from wanvideo.jobs.job import DONE, FAILED, INPUT, MEMORY, OTHER, QUEUED, RUNNING, STOPPED
from wanvideo.jobs.store import MOST_ATTEMPTS, JobStore
from wanvideo.jobs.supervisor import Supervisor
from wanvideo.jobs.worker import LOG_NAME
from wanvideo.media.probe import probe_video
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import Steer, generate
from wanvideo.plan import GenerationPlan
from wanvideo.request import GenerationRequest, ProgressEvent, RuntimeOptions
from wanvideo.stage_clock import Progress

ROOT = Path(__file__).parents[2]


def ball(**changes: object) -> GenerationRequest:
    asked = {"task": "text_to_video", "model": "tiny_t2v", "prompt": "a red ball", "seed": 1, **changes}
    return GenerationRequest(**asked)  # type: ignore[arg-type]


def test_a_bad_job_does_not_keep_the_next_one_from_its_video(
    store: JobStore, options: RuntimeOptions, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.png"
    empty.write_bytes(b"")
    bad = store.add(GenerationRequest(task="image_to_video", image=str(empty), seed=1), options)
    good = store.add(ball(), options)
    work(store, generate, lambda: get(store, good).state == DONE)
    assert get(store, bad).state == FAILED and "empty.png" in get(store, bad).error
    assert get(store, bad).error_kind == INPUT
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
    assert get(store, number).error_kind == OTHER
    log_id = error.rstrip(".").rpartition(" ")[2]
    assert any(log_id in record.getMessage() and "inside" in record.getMessage() for record in caplog.records)


def test_a_stopped_job_keeps_its_finished_windows(
    store: JobStore, options: RuntimeOptions, tmp_path: Path
) -> None:
    picture = tmp_path / "face.png"
    Image.fromarray(np.full((64, 64, 3), 120, np.uint8)).save(picture)
    number = store.add(
        GenerationRequest(task="talk", model="tiny_i2v", image=str(picture), num_frames=13, seed=1), options
    )

    def stopping(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        def watch(event: ProgressEvent) -> None:
            if event.window == 1:
                store.request_stop(number)
            progress(event)

        return generate(plan, cache, watch, steer)

    work(store, stopping, lambda: get(store, number).state == STOPPED)
    kept = Path(get(store, number).result["output"])
    assert probe_video(kept).frames == 9
    assert [file.name for file in kept.parent.iterdir()] == [kept.name], "no windows are left behind"


def test_a_stop_that_cannot_be_written_fails_the_job_and_not_the_worker(
    store: JobStore, options: RuntimeOptions
) -> None:
    number, after = store.add(ball(num_inference_steps=20), options), store.add(ball(), options)

    def blocked(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        if get(store, number).state == RUNNING:
            folder = job_folder(plan)
            state = {"motion": torch.zeros(3, 0, 64, 64)}
            folder.append(0, np.zeros((9, 64, 64, 3), np.uint8), state)
            folder.segments()[0].write_bytes(b"")  # what a full disk makes of a file
            store.request_stop(number)
        progress(ProgressEvent(stage="denoise"))
        return generate(plan, cache, progress, steer)

    work(store, blocked, lambda: get(store, after).state == DONE)
    assert get(store, number).state == FAILED and "window_0000.mp4" in get(store, number).error


def test_memory_that_ran_out_is_freed_for_the_next_job(store: JobStore, options: RuntimeOptions) -> None:
    number, after = store.add(ball(), options), store.add(ball(), options)
    left: list[int] = []
    activations: list[Callable[[], object]] = []

    def too_large(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        left.append(cache.bytes)
        if len(left) > 1:
            assert activations[0]() is None, "what the failed job held is gone"
            return generate(plan, cache, progress, steer)
        generate(plan, cache, progress, steer)
        assert cache.bytes > 0
        activation = torch.zeros(8)
        activations.append(weakref.ref(activation))
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    work(store, too_large, lambda: get(store, after).state == DONE)
    job = get(store, number)
    assert job.state == FAILED and "64 × 64, 9 frames" in job.error and "CUDA" not in job.error
    assert job.failure == {"kind": MEMORY, "width": 64, "height": 64, "frames": 9}
    assert left == [0, 0]


def test_the_card_shows_what_was_carried_out(store: JobStore, options: RuntimeOptions) -> None:
    def short(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        made = generate(plan, cache, progress, steer)
        return replace(made, plan=replace(made.plan, notes=("the memory was short",)))

    number = store.add(ball(), options)
    work(store, short, lambda: get(store, number).state == DONE)
    assert get(store, number).result["notes"] == ["the memory was short"]


def test_models_are_unloaded_when_somebody_asks(store: JobStore, options: RuntimeOptions) -> None:
    """Between two jobs, and by a worker that has nothing to do; a request is answered once."""
    held: list[int] = []
    caches: list[ModelCache] = []

    def watched(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        caches.append(cache)
        held.append(cache.bytes)
        if len(held) == 2:
            store.request_unload()
        return generate(plan, cache, progress, steer)

    numbers = [store.add(ball(), options) for _ in range(3)]

    def idle_and_unloaded() -> bool:
        if get(store, numbers[-1]).state != DONE:
            return False
        if store.unload_state()[1] is not None and caches[0].bytes:
            store.request_unload()
        return not caches[0].bytes

    store.request_unload()
    work(store, watched, idle_and_unloaded)
    assert held[0] == held[2] == 0 and held[1] > 0
    assert store.unload_state()[1] is not None


def test_a_leaving_worker_puts_its_job_back(store: JobStore, options: RuntimeOptions) -> None:
    number = store.add(ball(), options)
    begun = Event()

    def endless(_plan: GenerationPlan, _cache: ModelCache, progress: Progress, _steer: Steer) -> None:
        while True:
            begun.set()
            progress(ProgressEvent(stage="denoise"))
            time.sleep(0.01)

    work(store, endless, begun.is_set)
    job = get(store, number)
    assert (job.state, job.attempts) == (QUEUED, 0)
    assert job.output, "the next attempt takes up the same windows"


def test_a_killed_worker_is_replaced_and_its_job_is_made(store: JobStore, options: RuntimeOptions) -> None:
    number = store.add(ball(num_inference_steps=60), options)
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


def test_closing_the_page_time_and_again_fails_no_job(
    store: JobStore, options: RuntimeOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor_module, "STOP_SECONDS", 0.0)  # the worker is busy and gets killed
    number = store.add(ball(num_inference_steps=300), options)
    for _ in range(MOST_ATTEMPTS):
        supervisor = Supervisor(store)
        supervisor.start()
        wait_for(lambda: get(store, number).state == RUNNING)
        supervisor.stop()
        assert (get(store, number).state, get(store, number).attempts) == (QUEUED, 0)


def test_a_worker_ends_with_the_program_that_started_it(store: JobStore) -> None:
    command = [sys.executable, "-m", "wanvideo.jobs.worker", str(store.path)]
    worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE)
    wait_for((store.path.parent / LOG_NAME).exists)
    assert worker.stdin is not None
    worker.stdin.close()  # what the system does when the page's process ends in any way
    assert worker.wait(30) == 0
