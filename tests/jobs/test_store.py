"""Claiming, leases, stopping and restarts, on a real queue file."""

import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from wanvideo.errors import UserError
from wanvideo.jobs.job import DONE, FAILED, QUEUED, RUNNING, STOPPED, Job
from wanvideo.jobs.orders import unload_models
from wanvideo.jobs.store import MOST_ATTEMPTS, JobStore
from wanvideo.request import GenerationRequest, RuntimeOptions, read_options, read_request

ROOT = Path(__file__).parents[2]
REQUEST = GenerationRequest(
    task="talk",
    image="face.png",
    audio=("one.wav", "two.wav"),
    speaker_boxes=((0, 0, 8, 8), (8, 0, 16, 8)),
    guidance_scale=(5.0, 1.0),
    seed=7,
)
OPTIONS = RuntimeOptions(strict=True, output_dir="somewhere")

CLAIMER = """
import sys, time
from wanvideo.jobs.store import JobStore
store = JobStore(sys.argv[1])
while True:
    job = store.claim(sys.argv[2])
    if job is None:
        break
    print(job.id, flush=True)
    time.sleep(0.005)
    store.finish(job, {})
"""


def claimed(store: JobStore, worker: str = "w") -> Job:
    job = store.claim(worker)
    assert job is not None
    return job


def state(store: JobStore, job_id: int) -> str:
    job = store.get(job_id)
    assert job is not None
    return job.state


def test_a_row_gives_back_the_very_request_and_options(store: JobStore) -> None:
    job = store.get(store.add(REQUEST, OPTIONS))
    assert job is not None and job.state == QUEUED
    assert read_request(job.request) == REQUEST
    assert read_options(job.options) == OPTIONS


def test_jobs_are_claimed_in_order_and_listed_newest_first(store: JobStore) -> None:
    numbers = [store.add(REQUEST, OPTIONS) for _ in range(3)]
    assert [claimed(store).id for _ in numbers] == numbers
    assert store.claim("w") is None
    assert [job.id for job in store.list()] == numbers[::-1]


def test_the_list_holds_all_open_jobs_and_the_last_ended_ones(store: JobStore) -> None:
    ended, running, *waiting = (store.add(REQUEST, OPTIONS) for _ in range(60))
    store.finish(claimed(store), {})
    claimed(store)
    for number in waiting[:3]:
        store.request_stop(number)
    listed = {job.id: job.state for job in store.list(limit=2)}
    assert listed[running] == RUNNING and set(listed) == {running, *waiting[1:]}
    assert list(listed) == sorted(listed, reverse=True)
    assert ended in {job.id for job in store.list(limit=4)}


def test_every_job_is_claimed_once_by_many_processes(store: JobStore) -> None:
    numbers = [store.add(REQUEST, OPTIONS) for _ in range(40)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIMER, str(store.path), f"worker-{index}"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for index in range(4)
    ]
    seen = [int(line) for worker in workers for line in worker.communicate(timeout=60)[0].split()]
    assert sorted(seen) == numbers
    assert {job.state for job in store.list()} == {DONE}


def test_threads_share_one_store(store: JobStore) -> None:
    threads = [threading.Thread(target=store.add, args=(REQUEST, OPTIONS)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.list()) == 8


def test_a_lease_that_runs_out_gives_the_job_back(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "queue.sqlite", lease_seconds=0.2)
    number = store.add(REQUEST, OPTIONS)
    first = claimed(store, "first")
    assert store.claim("second") is None
    time.sleep(0.3)
    second = claimed(store, "second")
    assert (second.id, second.attempts) == (number, 2)
    store.finish(first, {"output": "stolen.mp4"})
    assert not store.may_continue(first) and not store.renew(first)
    assert state(store, number) == RUNNING


def test_a_renewed_lease_holds(tmp_path: Path) -> None:
    store = JobStore(tmp_path / "queue.sqlite", lease_seconds=0.4)
    store.add(REQUEST, OPTIONS)
    job = claimed(store)
    for _ in range(4):
        time.sleep(0.2)
        assert store.renew(job)
    assert store.claim("another") is None


def test_a_job_that_kills_its_worker_twice_is_given_up(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS)
    for attempt in range(MOST_ATTEMPTS):
        assert claimed(store).attempts == attempt + 1
        store.abandon("w")
    assert state(store, number) == FAILED
    job = store.get(number)
    assert job is not None and "worker.log" in job.error


def test_leaving_in_good_order_is_no_attempt(store: JobStore) -> None:
    store.add(REQUEST, OPTIONS)
    for _ in range(MOST_ATTEMPTS + 2):
        job = claimed(store)
        assert job.attempts == 1
        store.release(job)


def test_a_worker_ended_on_purpose_costs_no_attempt(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS)
    for _ in range(MOST_ATTEMPTS + 2):
        assert claimed(store).attempts == 1
        store.abandon("w", counted=False)
        assert state(store, number) == QUEUED


def test_forgotten_attempts_are_not_counted(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS)
    for _ in range(MOST_ATTEMPTS + 2):
        store.forget_attempts(claimed(store))
        store.abandon("w")
    assert state(store, number) == QUEUED
    job = claimed(store)
    store.forget_attempts(job)
    store.release(job)
    assert claimed(store).attempts == 1, "never below zero"


def test_stop_before_during_and_after(store: JobStore) -> None:
    running, waiting, ended = (store.add(REQUEST, OPTIONS) for _ in range(3))
    job = claimed(store)
    assert store.may_continue(job)
    for number in (running, waiting):
        store.request_stop(number)
    assert state(store, waiting) == STOPPED
    assert state(store, running) == RUNNING and not store.may_continue(job)
    assert store.renew(job), "a stopping job keeps its lease until its worker has put things in order"
    store.stop(job, {"output": "part.mp4"})
    assert state(store, running) == STOPPED
    last = claimed(store)
    assert last.id == ended
    store.finish(last, {})
    store.request_stop(ended)
    assert state(store, ended) == DONE


def test_a_dead_worker_whose_job_was_to_stop_leaves_it_stopped(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS)
    claimed(store)
    store.request_stop(number)
    store.abandon("w")
    assert state(store, number) == STOPPED


def test_the_queue_survives_a_restart(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS)
    job = claimed(store)
    store.progress(job, {"stage": "denoise", "step": 3}, Path("preview.jpg"))
    store.progress(job, {"stage": "decode"})
    store.set_output(job, Path("out.mp4"))
    again = JobStore(store.path).get(number)
    assert again is not None
    assert again.progress == {"stage": "decode"} and again.preview == "preview.jpg"
    assert again.output == "out.mp4" and again.state == RUNNING


@pytest.mark.parametrize("content", [None, b"no queue, but long enough to be one" * 99])
def test_a_queue_that_cannot_be_opened_is_said_in_a_sentence(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "file" / "queue.sqlite"
    (tmp_path / "file" if content is None else path).parent.mkdir(exist_ok=True)
    (tmp_path / "file" if content is None else path).write_bytes(content or b"")
    with pytest.raises(UserError, match="another output folder"):
        JobStore(path)


def test_unloading_is_asked_for_and_answered(store: JobStore) -> None:
    assert store.unload_state() == (None, None)
    first = store.request_unload()
    assert JobStore(store.path).unload_state() == (first, None)
    second = store.request_unload()
    store.unloaded(first)
    assert store.unload_state() == (second, None), "what was asked for since is not done yet"
    store.unloaded(second)
    requested, done = store.unload_state()
    assert requested == second and done is not None and done >= second


def test_a_queue_of_an_older_version_learns_to_unload(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS)
    with sqlite3.connect(store.path) as database:
        database.execute("DROP TABLE unloading")
    newer = JobStore(store.path)
    assert newer.unload_state() == (None, None)
    newer.unloaded(newer.request_unload())
    assert state(newer, number) == QUEUED


def test_a_command_waits_for_the_worker_and_not_for_ever(store: JobStore, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "queue.sqlite"
    assert not unload_models(nowhere) and not nowhere.parent.exists()
    assert not unload_models(store.path, wait_seconds=0.05)

    def answer() -> None:
        while store.unload_state()[0] == asked:
            time.sleep(0.01)
        store.unloaded(store.unload_state()[0] or 0)

    asked = store.unload_state()[0]
    worker = threading.Thread(target=answer)
    worker.start()
    assert unload_models(store.path, wait_seconds=20)
    worker.join()
