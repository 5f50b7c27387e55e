"""What a person asks of the queue: each order in the states it is for, and refused in the others."""

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wanvideo.errors import UserError
from wanvideo.jobs import orders
from wanvideo.jobs.job import (
    DONE,
    FAILED,
    MEMORY,
    OTHER,
    PAUSED,
    QUEUED,
    RUNNING,
    STATES,
    STOPPED,
    Job,
)
from wanvideo.jobs.store import JobStore
from wanvideo.registry import attention_backends
from wanvideo.request import GenerationRequest, RuntimeOptions, read_options, read_request

REQUEST, OPTIONS = GenerationRequest(prompt="a ball", seed=3), RuntimeOptions()
OLD_TABLE = """CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL, request TEXT NOT NULL, options TEXT NOT NULL,
    created REAL NOT NULL, started REAL, ended REAL,
    worker TEXT, lease REAL, attempts INTEGER NOT NULL DEFAULT 0, stop_requested INTEGER NOT NULL DEFAULT 0,
    output TEXT, progress TEXT NOT NULL DEFAULT '{}', preview TEXT, result TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT ''
)"""
PREPARED: dict[str, Callable[[JobStore, Job], object]] = {
    QUEUED: lambda store, job: store.release(job),
    RUNNING: lambda _store, _job: None,
    PAUSED: lambda store, job: store.pause(job),
    DONE: lambda store, job: store.finish(job, {"output": "a.mp4"}),
    FAILED: lambda store, job: store.fail(job, "it went wrong"),
    STOPPED: lambda store, job: store.stop(job, {}),
}
ORDERS: dict[Callable[[JobStore, int], object], set[str]] = {
    orders.pause_job: {QUEUED, RUNNING},
    orders.resume_job: {PAUSED, RUNNING},
    orders.retry_job: {FAILED, STOPPED},
    orders.copy_job: set(STATES),
    lambda store, number: orders.move_job(store, number, orders.FRONT): {QUEUED, PAUSED},
    lambda store, number: orders.edit_job(store, number, REQUEST, OPTIONS): {QUEUED, PAUSED},
    lambda store, number: orders.switch_attention(store, number, "auto"): {QUEUED, PAUSED, RUNNING},
}


def add(store: JobStore, count: int) -> list[int]:
    return [store.add(REQUEST, OPTIONS) for _ in range(count)]


def claimed(store: JobStore) -> Job:
    job = store.claim("w")
    assert job is not None
    return job


def get(store: JobStore, number: int) -> Job:
    job = store.get(number)
    assert job is not None
    return job


def with_windows(store: JobStore, job: Job, folder: Path) -> None:
    folder.mkdir(parents=True)
    for index in range(2):
        (folder / f"window_{index:04d}.mp4").write_bytes(b"")
    store.set_windows(job, folder, {"attention": "a"})


@pytest.mark.parametrize("state", STATES)
def test_each_order_is_for_its_states_alone(store: JobStore, state: str) -> None:
    for order, states in ORDERS.items():
        number = store.add(REQUEST, OPTIONS)
        job = store.claim("w", number)
        assert job is not None
        PREPARED[state](store, job)
        assert get(store, number).state == state
        if state in states:
            order(store, number)
        else:
            with pytest.raises(UserError, match=f"job {number} is {state}"):
                order(store, number)
            assert get(store, number).state == state
        with pytest.raises(UserError, match="no such job"):
            order(store, 9999)


def test_a_paused_queue_begins_nothing_but_ends_what_is_to_be_stopped(
    store: JobStore, tmp_path: Path
) -> None:
    first, second = add(store, 2)
    job = claimed(store)
    orders.pause_queue(store)
    orders.pause_queue(store)
    assert orders.is_paused(JobStore(store.path)) and store.may_continue(job), "the running job goes on"
    assert store.claim("w") is None
    with_windows(store, job, tmp_path / "windows")
    store.pause(job)
    store.request_stop(first)
    assert (get(store, first).state, claimed(store).id) == (QUEUED, first), "to make a file of its windows"
    orders.resume_queue(store)
    assert not orders.is_paused(store) and claimed(store).id == second


def test_a_paused_job_waits_and_comes_back_to_the_front_if_it_had_begun(store: JobStore) -> None:
    begun, never_begun, other = add(store, 3)
    job = claimed(store)
    orders.pause_job(store, begun)
    assert get(store, begun).state == RUNNING and not store.may_continue(job)
    store.pause(job)
    orders.pause_job(store, never_begun)
    assert (get(store, begun).attempts, claimed(store).id) == (0, other)
    orders.resume_job(store, never_begun)
    orders.resume_job(store, begun)
    assert [one.id for one in store.waiting()] == [begun, never_begun]
    assert claimed(store).id == begun


def test_a_pause_is_taken_back_before_the_worker_has_seen_it(store: JobStore) -> None:
    (number,) = add(store, 1)
    job = claimed(store)
    orders.pause_job(store, number)
    orders.resume_job(store, number)
    assert store.may_continue(job) and get(store, number).state == RUNNING


def test_a_worker_that_dies_while_its_job_is_to_pause_leaves_it_paused(store: JobStore) -> None:
    (number,) = add(store, 1)
    claimed(store)
    orders.pause_job(store, number)
    store.abandon("w")
    assert get(store, number).state == PAUSED and not get(store, number).pause_requested


def test_jobs_change_places(store: JobStore) -> None:
    a, b, c, d = add(store, 4)

    def order_after(number: int, where: str) -> list[int]:
        orders.move_job(store, number, where)
        return [job.id for job in store.waiting()]

    assert order_after(c, orders.UP) == [a, c, b, d]
    assert order_after(a, orders.DOWN) == [c, a, b, d]
    assert order_after(d, orders.FRONT) == [d, c, a, b]
    assert order_after(d, orders.UP) == order_after(b, orders.DOWN) == [d, c, a, b]
    (last,) = add(store, 1)
    assert [claimed(store).id for _ in range(5)] == [d, c, a, b, last]


def test_retry_takes_up_what_is_left_and_begins_to_count_anew(store: JobStore, tmp_path: Path) -> None:
    number, other = add(store, 2)
    job = claimed(store)
    store.set_output(job, Path("out.mp4"))
    with_windows(store, job, tmp_path / "windows")
    store.request_stop(number)
    store.fail(job, "the memory was not enough", MEMORY, width=64)
    assert get(store, number).failure == {"kind": MEMORY, "width": 64}
    orders.retry_job(store, number, blocking=True)
    again = get(store, number)
    assert (again.state, again.attempts, again.error, again.stop_requested) == (QUEUED, 0, "", False)
    assert (again.output, len(again.windows), again.blocking) == ("out.mp4", 2, True)
    assert again.failure == {}
    assert [job.id for job in store.waiting()] == [other, number], "behind those who wait"


def test_a_copy_has_the_request_and_none_of_the_fate(store: JobStore) -> None:
    number = store.add(REQUEST, OPTIONS, owner="guest")
    store.fail(claimed(store), "it went wrong")
    copy = get(store, orders.copy_job(store, number))
    assert copy.id != number and (copy.state, copy.error, copy.attempts) == (QUEUED, "", 0)
    assert (read_request(copy.request), read_options(copy.options)) == (REQUEST, OPTIONS)
    assert copy.owner == "guest"


def test_an_edited_job_forgets_the_windows_of_the_video_it_was(store: JobStore, tmp_path: Path) -> None:
    number, _ = add(store, 2)
    job = claimed(store)
    with_windows(store, job, tmp_path / "windows")
    store.set_output(job, Path("out.mp4"))
    store.pause(job)
    wanted = GenerationRequest(prompt="a cube", seed=4)
    orders.edit_job(store, number, wanted, RuntimeOptions(strict=True))
    edited = get(store, number)
    assert read_request(edited.request) == wanted and read_options(edited.options).strict
    assert (edited.state, edited.output, edited.windows) == (PAUSED, None, ())
    assert not (tmp_path / "windows").exists()


def test_attention_is_kept_by_its_own_name(store: JobStore) -> None:
    (number,) = add(store, 1)
    for name, row in attention_backends().items():
        for word in (name, *row.aliases):
            orders.switch_attention(store, number, word)
            assert get(store, number).attention == name
    with pytest.raises(UserError, match="unknown attention"):
        orders.switch_attention(store, number, "nonsense")


def test_a_queue_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "queue.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(OLD_TABLE)
        values = [(state, json.dumps({"prompt": state}), "{}", 1.0) for state in (DONE, QUEUED, QUEUED)]
        database.executemany(
            "INSERT INTO jobs (state, request, options, created) VALUES (?, ?, ?, ?)", values
        )
    JobStore(path)
    store = JobStore(path)
    assert [job.id for job in store.waiting()] == [2, 3]
    new = store.add(REQUEST, OPTIONS)
    orders.move_job(store, 3, orders.FRONT)
    assert [claimed(store).id for _ in range(3)] == [3, 2, new]
    assert get(store, 1).windows == () and get(store, 1).notes == () and get(store, 1).error_kind == OTHER


def test_two_hundred_jobs_are_listed_at_once(store: JobStore) -> None:
    long = GenerationRequest(prompt="a very long prompt " * 100, seed=1)
    for _ in range(200):
        store.add(long, OPTIONS)
    times = []
    for _ in range(5):
        begun = time.perf_counter()
        assert len(store.list()) == 200
        times.append(time.perf_counter() - begun)
    assert min(times) < 0.05
