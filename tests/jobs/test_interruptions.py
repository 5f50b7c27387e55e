"""Jobs that do not go straight through: paused, steered to another attention, broken off by the card, killed.

Each ends with the same video as a job that was left alone.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from tests.jobs.shaky import REASON, SHAKY, shaky_backend
from tests.jobs.working import get, wait_for, work
from wanvideo.jobs import orders
from wanvideo.jobs.card_errors import BLOCKING, CARD_BROKEN, FRESH_PROCESS
from wanvideo.jobs.job import CARD, DONE, FAILED, PAUSED, QUEUED, RUNNING, STOPPED
from wanvideo.jobs.store import JobStore
from wanvideo.jobs.supervisor import Supervisor
from wanvideo.jobs.worker import run_worker
from wanvideo.media.probe import probe_video
from wanvideo.media.video import read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import Steer, generate
from wanvideo.plan import GenerationPlan
from wanvideo.registry import attention_backends
from wanvideo.request import GenerationRequest, ProgressEvent, RuntimeOptions
from wanvideo.stage_clock import Progress

ROOT = Path(__file__).parents[2]
Make = Callable[[GenerationPlan, ModelCache, Progress, Steer], object]


@pytest.fixture
def shaky(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setitem(attention_backends(), SHAKY, shaky_backend())
    return SHAKY


def with_watcher(watch: Callable[[ProgressEvent, GenerationPlan], None]) -> Make:
    """`generate` with another look at each event."""

    def make(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        def both(event: ProgressEvent) -> None:
            watch(event, plan)
            progress(event)

        return generate(plan, cache, both, steer)

    return make


def pictures(path: str | Path) -> bytes:
    """The coded pictures of a video, bit by bit."""
    import imageio_ffmpeg

    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", str(path), "-map", "0:v", "-c", "copy"]
    return subprocess.run([*command, "-f", "h264", "-"], capture_output=True, check=True).stdout


def undisturbed(tmp_path: Path, request: GenerationRequest, options: RuntimeOptions) -> bytes:
    store = JobStore(tmp_path / "quiet.sqlite")
    number = store.add(request, replace(options, output_dir=str(tmp_path / "quiet")))
    work(store, generate, lambda: get(store, number).state == DONE)
    return pictures(get(store, number).result["output"])


def test_a_paused_job_goes_on_with_its_finished_windows(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, tmp_path: Path
) -> None:
    number, after = store.add(talk, options), store.add(replace(talk, num_frames=9), options)
    made: list[tuple[int, int]] = []

    def watch(event: ProgressEvent, plan: GenerationPlan) -> None:
        if event.step == 1:
            made.append((plan.total_frames, event.window))
        if event.window == 2 and get(store, number).started and len(made) == 3:
            orders.pause_job(store, number)

    work(store, with_watcher(watch), lambda: get(store, after).state == DONE)
    paused = get(store, number)
    assert (paused.state, len(paused.windows), paused.attempts) == (PAUSED, 2, 0)
    orders.resume_job(store, number)
    work(store, with_watcher(watch), lambda: get(store, number).state == DONE)
    assert made == [(21, 0), (21, 1), (21, 2), (9, 0), (21, 2), (21, 3)]
    assert pictures(get(store, number).result["output"]) == undisturbed(tmp_path, talk, options)


def test_a_paused_job_that_is_stopped_gives_what_it_had(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    number = store.add(talk, options)

    def watch(event: ProgressEvent, _: GenerationPlan) -> None:
        if event.window == 1:
            orders.pause_job(store, number)

    work(store, with_watcher(watch), lambda: get(store, number).state == PAUSED)
    orders.pause_queue(store)
    store.request_stop(number)
    work(store, generate, lambda: get(store, number).state == STOPPED)
    assert probe_video(get(store, number).result["output"]).frames == 9


def test_a_lost_job_leaves_the_windows_to_its_new_worker(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, caplog: pytest.LogCaptureFixture
) -> None:
    number = store.add(talk, options)

    def watch(event: ProgressEvent, _: GenerationPlan) -> None:
        if event.window == 1:
            store.abandon("w")
            orders.pause_queue(store)

    work(store, with_watcher(watch), lambda: orders.is_paused(store))
    assert get(store, number).state == QUEUED and len(get(store, number).windows) == 1
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_attention_changes_from_the_next_window_on(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, shaky: str, tmp_path: Path
) -> None:
    number = store.add(talk, options)
    ran: list[str] = []

    def watch(event: ProgressEvent, _: GenerationPlan) -> None:
        if event.window == 1 and event.step == 1:
            orders.switch_attention(store, number, shaky)
        if event.window == 3 and not ran:
            ran.append("paused")
            orders.pause_job(store, number)

    work(store, with_watcher(watch), lambda: get(store, number).state == PAUSED)
    note = f"from window 3 on with {shaky}, as was asked"
    assert get(store, number).notes == (note,)
    orders.resume_job(store, number)
    work(store, with_watcher(watch), lambda: get(store, number).state == DONE)
    result = get(store, number).result
    assert result["effective"]["attention"] == shaky and note in result["notes"]
    assert note in read_metadata(result["output"])["comment"]
    assert pictures(result["output"]) == undisturbed(tmp_path, talk, options), "shaky is exact at heart"
    assert not list((tmp_path / "out").glob(".work/*")), "all windows were taken up under one name"


def test_attention_that_cannot_run_is_said_and_nothing_changes(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    foreign = next(name for name, row in attention_backends().items() if row.fallback is not None)
    for strict in (False, True):
        number = store.add(replace(talk, num_frames=13), replace(options, strict=strict))

        def watch(event: ProgressEvent, _: GenerationPlan, number: int = number) -> None:
            if event.window == 0 and event.step == 1:
                orders.switch_attention(store, number, foreign)

        work(store, with_watcher(watch), lambda number=number: get(store, number).state == DONE)
        result = get(store, number).result
        exact = result["effective"]["attention"]
        assert attention_backends()[exact].fallback is None
        said = " ".join(result["notes"])
        assert foreign in said and (f"{exact} goes on" if strict else f"{exact} runs instead") in said


def test_files_that_changed_are_not_taken_up(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    number = store.add(talk, options)
    windows: list[int] = []

    def watch(event: ProgressEvent, plan: GenerationPlan) -> None:
        windows.append(event.window)
        if event.window == 1 and not Path(str(plan.request.image)).stat().st_mtime < 1000:
            orders.pause_job(store, number)

    work(store, with_watcher(watch), lambda: get(store, number).state == PAUSED)
    os.utime(str(talk.image), (1, 1))
    windows.clear()
    orders.resume_job(store, number)
    work(store, with_watcher(watch), lambda: get(store, number).state == DONE)
    assert windows[0] == 0 and not get(store, number).notes


def test_an_error_of_the_card_costs_the_window_and_the_suspect_its_place(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, tmp_path: Path
) -> None:
    number = store.add(talk, replace(options, attention=SHAKY))
    after = store.add(replace(talk, num_frames=9), replace(options, attention=SHAKY))
    supervisor = Supervisor(store, module="tests.jobs.shaky")
    supervisor.start()
    first = supervisor.pid
    try:
        wait_for(lambda: get(store, after).state in (DONE, FAILED))
    finally:
        supervisor.stop()
    job = get(store, number)
    assert (job.state, supervisor.pid != first) == (DONE, True)
    exact = job.result["effective"]["attention"]
    said = " ".join(job.result["notes"])
    assert f"CUDA error ({REASON}) in window 2" in said and "until the program is started again" in said
    assert f"from window 2 on with attention {exact} (before: {SHAKY})" in said
    assert pictures(job.result["output"]) == undisturbed(tmp_path, talk, options)
    assert get(store, after).result["effective"]["attention"] == exact, "nor does the next job use it"
    assert [suspect.name for suspect in store.suspects()] == [SHAKY]
    again = Supervisor(store)
    again.start()
    again.stop()
    assert not store.suspects(), "another start, another chance"


def test_a_card_that_breaks_exact_kernels_is_given_up_after_two_tries(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    number = store.add(talk, options)
    for state in (QUEUED, FAILED):
        assert run_worker(store, generate=broken, name="w", leaving=Event()) == CARD_BROKEN
        store.abandon("w")
        assert get(store, number).state == state
    assert "blocking launches" in get(store, number).error
    assert get(store, number).error_kind == CARD


def test_a_card_that_breaks_in_compiled_code_gets_its_video_without_it(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    def breaking(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        if plan.compile.blocks:
            raise RuntimeError(f"Triton Error [CUDA]: {REASON}")
        return generate(plan, cache, progress, steer)

    number = store.add(replace(talk, num_frames=9), replace(options, compile="blocks"))
    assert run_worker(store, generate=breaking, name="w", leaving=Event()) == CARD_BROKEN
    assert get(store, number).state == QUEUED
    work(store, breaking, lambda: get(store, number).state in (DONE, FAILED))
    result = get(store, number).result
    assert result["effective"]["compile"] == "off" and REASON in result["effective"]["compile_reason"]
    assert any("without compiled blocks" in note for note in result["notes"])


def test_an_error_that_does_not_stay_is_a_fault_like_any_other(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("CUDA error: invalid configuration argument")

    number = store.add(talk, options)
    work(store, broken, lambda: get(store, number).state == FAILED)
    assert not store.suspects()


def test_attention_that_the_pipeline_replaced_is_not_used_again(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, shaky: str
) -> None:
    def replacing(plan: GenerationPlan, cache: ModelCache, progress: Progress, steer: Steer) -> object:
        made = generate(plan, cache, progress, steer)
        return replace(made, plan=replace(made.plan, attention="sdpa"))

    number = store.add(replace(talk, num_frames=9), replace(options, attention=shaky))
    work(store, replacing, lambda: get(store, number).state == DONE)
    assert [(suspect.kind, suspect.name) for suspect in store.suspects()] == [("attention", shaky)]


def test_blocking_launches_are_for_one_job_in_a_process_of_its_own(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(BLOCKING, "")
    monkeypatch.delenv(BLOCKING)
    number = store.add(replace(talk, num_frames=9), options)
    job = store.claim("w")
    assert job is not None
    store.fail(job, "the card reported an error")
    orders.retry_job(store, number, blocking=True)
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    assert run_worker(store, generate=generate, name="w", leaving=Event()) == FRESH_PROCESS
    assert (get(store, number).state, get(store, number).attempts, BLOCKING in os.environ) == (
        QUEUED,
        0,
        False,
    )
    monkeypatch.undo()
    monkeypatch.setenv(BLOCKING, "1")
    assert run_worker(store, generate=generate, name="w", leaving=Event()) == FRESH_PROCESS
    assert get(store, number).state == DONE


def test_a_worker_killed_in_its_second_window_costs_no_bit(
    store: JobStore, options: RuntimeOptions, talk: GenerationRequest, tmp_path: Path
) -> None:
    slow = replace(talk, num_inference_steps=40)
    number = store.add(slow, options)
    supervisor = Supervisor(store)
    supervisor.start()
    try:
        wait_for(lambda: get(store, number).progress.get("window") == 1 and _step(store, number) > 2)
        first = supervisor.pid
        assert first is not None and get(store, number).state == RUNNING
        kept = get(store, number).windows
        stamp = kept[0].stat().st_mtime_ns
        os.kill(first, signal.SIGKILL)
        wait_for(lambda: len(get(store, number).windows) > 1)
        assert len(kept) == 1 and kept[0].stat().st_mtime_ns == stamp, "the first window was not made again"
        wait_for(lambda: get(store, number).state == DONE)
    finally:
        supervisor.stop()
    assert supervisor.pid != first
    assert pictures(get(store, number).result["output"]) == undisturbed(tmp_path, slow, options)


def test_a_page_that_is_killed_takes_its_worker_along_and_the_next_goes_on(
    tmp_path: Path, options: RuntimeOptions, talk: GenerationRequest
) -> None:
    store = JobStore(tmp_path / "jobs" / "queue.sqlite")
    slow = replace(talk, num_inference_steps=40)
    number = store.add(slow, options)
    code = (
        "import sys; from wanvideo.jobs import store, supervisor;"
        "s = supervisor.Supervisor(store.JobStore(sys.argv[1])); s.start(); s.wait()"
    )
    page = subprocess.Popen([sys.executable, "-c", code, str(store.path)], cwd=ROOT)
    wait_for(lambda: get(store, number).progress.get("window") == 1 and _step(store, number) > 2)
    worker = int((get(store, number).worker or "").rpartition("-")[2])
    page.kill()
    page.wait()
    wait_for(lambda: not _lives(worker), 40)
    job = get(store, number)
    assert (job.state, job.attempts, len(job.windows)) == (QUEUED, 0, 1), "put back in good order"
    supervisor = Supervisor(store)
    supervisor.start()
    try:
        wait_for(lambda: get(store, number).state == DONE)
    finally:
        supervisor.stop()
    assert pictures(get(store, number).result["output"]) == undisturbed(tmp_path, slow, options)


def _step(store: JobStore, number: int) -> int:
    return int(get(store, number).progress.get("step") or 0)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")  # one that nobody waited for is a zombie
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
