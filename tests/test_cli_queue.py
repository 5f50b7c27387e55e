"""`queue` and `resume`: what they answer, what they do to the queue, their exit codes."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny_models import write_tiny_models
from wanvideo import cli_queue
from wanvideo.cli import BAD_INPUT, DONE, STOPPED, main
from wanvideo.errors import Cancelled
from wanvideo.jobs import job as states
from wanvideo.jobs import orders
from wanvideo.jobs.job import Job, queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.progress_bar import ProgressBar
from wanvideo.request import GenerationRequest, ProgressEvent, RuntimeOptions

REQUEST = GenerationRequest(task="text_to_video", model="tiny_t2v", prompt="a red ball", seed=1)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_models(tmp_path_factory.mktemp("models"))


@pytest.fixture
def options(models: Path, tmp_path: Path) -> RuntimeOptions:
    return RuntimeOptions(models_dir=str(models), output_dir=str(tmp_path))


@pytest.fixture
def store(tmp_path: Path) -> JobStore:
    return JobStore(queue_file(tmp_path))


def run(tmp_path: Path, *words: object) -> int:
    return main([*map(str, words), "--output-dir", str(tmp_path)])


def get(store: JobStore, number: int) -> Job:
    job = store.get(number)
    assert job is not None
    return job


def test_each_action_does_to_the_queue_what_it_says(
    store: JobStore, options: RuntimeOptions, tmp_path: Path
) -> None:
    first, second = store.add(REQUEST, options), store.add(REQUEST, options)

    def queue(*words: object) -> JobStore:
        assert run(tmp_path, "queue", *words) == DONE
        return store

    tried = {
        "list": queue("list").get(first) is not None,
        "pause": get(queue("pause", first), first).state == states.PAUSED,
        "resume": get(queue("resume", first), first).state == states.QUEUED,
        "move": [job.id for job in queue("move", second, "front").waiting()] == [second, first],
        "attention": get(queue("attention", first, "sdpa"), first).attention == "sdpa",
        "copy": len(queue("copy", first).waiting()) == 3,
        "stop": get(queue("stop", first), first).state == states.STOPPED,
        "retry": get(queue("retry", first, "--blocking"), first).blocking,
    }
    assert all(tried.values()) and set(tried) == set(cli_queue.ACTIONS)
    assert orders.is_paused(queue("pause")) and not orders.is_paused(queue("resume"))
    queue("stop")
    assert len(store.waiting()) == 3, "none was running"
    assert not queue("stop", "--all").waiting()


def test_the_list_is_for_people_and_for_programs(
    store: JobStore, options: RuntimeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, running, waiting = (store.add(REQUEST, options) for _ in range(3))
    job = store.claim("w")
    assert job is not None
    store.fail(job, "There was no picture.")
    job = store.claim("w")
    assert job is not None
    store.progress(job, {"stage": "denoise", "window": 1, "windows": 4, "fraction": 0.25})
    assert run(tmp_path, "queue", "list", "--json") == DONE
    told = capsys.readouterr()
    assert [line.split()[0] for line in told.err.splitlines()] == [str(failed), str(running), str(waiting)]
    assert "There was no picture." in told.err and "denoise window 2/4 25 %" in told.err
    answer = json.loads(told.out)
    assert [row["state"] for row in answer["jobs"]] == [states.FAILED, states.RUNNING, states.QUEUED]
    assert not answer["paused"]


def test_mistakes_are_one_line(
    store: JobStore, options: RuntimeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = store.add(REQUEST, options)
    for words in (["queue", "pause", 99], ["queue", "retry", number], ["resume", 99], ["queue", "stop", 99]):
        assert run(tmp_path, *words) == BAD_INPUT
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert run(tmp_path / "nowhere", "queue", "list") == BAD_INPUT
    assert not (tmp_path / "nowhere").exists()
    store.claim("w")
    assert run(tmp_path, "resume", number) == BAD_INPUT
    assert "another worker" in capsys.readouterr().err


@pytest.mark.parametrize("state", [states.QUEUED, states.PAUSED, states.FAILED, states.STOPPED])
def test_a_job_is_resumed_here(
    store: JobStore, options: RuntimeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    number = store.add(REQUEST, options)
    job = store.claim("w")
    assert job is not None
    {
        states.QUEUED: lambda: store.release(job),
        states.PAUSED: lambda: store.pause(job),
        states.FAILED: lambda: store.fail(job, "broken"),
        states.STOPPED: lambda: store.stop(job, {}),
    }[state]()
    orders.pause_queue(store)
    assert run(tmp_path, "resume", number, "--json") == DONE
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert Path(answer["output"]).exists() and answer["effective"]["frames"] == 9 and answer["seconds"] > 0
    assert get(store, number).state == states.DONE


def test_a_resumed_job_that_is_stopped_waits_to_be_resumed(
    store: JobStore,
    options: RuntimeOptions,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    number = store.add(replace(REQUEST, num_inference_steps=4), options)

    def stopped(_: ProgressBar, event: ProgressEvent) -> None:
        if event.step:
            raise Cancelled

    monkeypatch.setattr(ProgressBar, "__call__", stopped)
    assert run(tmp_path, "resume", number) == STOPPED
    assert f"resume {number}" in capsys.readouterr().err
    assert get(store, number).state == states.PAUSED


def test_a_job_that_cannot_be_made_says_why(
    store: JobStore, options: RuntimeOptions, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = store.add(replace(REQUEST, model="no_such_model"), options)
    assert run(tmp_path, "resume", number) == BAD_INPUT
    assert "no_such_model" in capsys.readouterr().err
    assert get(store, number).state == states.FAILED
