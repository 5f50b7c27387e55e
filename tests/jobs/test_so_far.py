"""The video so far: what it holds, that it is made once per window, and that it is in nobody's way."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from wanvideo.jobs import so_far
from wanvideo.jobs.job import Job
from wanvideo.jobs.so_far import video_so_far
from wanvideo.jobs.store import JobStore
from wanvideo.media.ffmpeg import run_ffmpeg
from wanvideo.media.probe import probe_sound, probe_video
from wanvideo.media.segments import JobFolder
from wanvideo.request import GenerationRequest, RuntimeOptions

WINDOWS = 3


@pytest.fixture
def speech(tmp_path: Path) -> Path:
    path = tmp_path / "it's speech.wav"
    soundfile.write(path, np.sin(np.arange(48_000) / 20) * 0.2, 16_000)
    return path


def job_with(store: JobStore, folder: Path, **asked: object) -> Job:
    number = store.add(GenerationRequest(task="talk", **asked), RuntimeOptions())  # type: ignore[arg-type]
    job = store.claim("w", number)
    assert job is not None
    store.set_windows(job, folder, {})
    store.progress(job, {"stage": "denoise", "windows": WINDOWS, "window": 0})
    return seen(store, job)


def seen(store: JobStore, job: Job) -> Job:
    found = store.get(job.id)
    assert found is not None
    return found


def finish_window(folder: JobFolder, index: int) -> None:
    folder.append(index, np.full((10, 32, 48, 3), 60 * index, np.uint8), {})


def test_it_grows_with_the_windows_and_has_their_sound(store: JobStore, tmp_path: Path, speech: Path) -> None:
    folder = JobFolder(tmp_path / "it's a folder" / "talk", fps=25)
    job = job_with(store, folder.path, audio=(str(speech),))
    assert video_so_far(job) is None and job.windows == ()
    for index in range(WINDOWS - 1):
        finish_window(folder, index)
        made = video_so_far(job)
        assert made is not None and len(job.windows) == index + 1
        facts = probe_video(made)
        assert (facts.frames, facts.has_sound) == (10 * (index + 1), True)
        assert probe_sound(made).seconds == pytest.approx(facts.seconds, abs=0.05)
        stamp = made.stat().st_mtime_ns
        assert video_so_far(job) == made and made.stat().st_mtime_ns == stamp, "made once"
        assert list(folder.path.glob("so_far_*")) == [made], "the shorter one is gone"
    finish_window(folder, WINDOWS - 1)
    assert video_so_far(job) == made, "the whole video is being made"
    assert folder.finished() == WINDOWS


def test_a_window_that_is_finished_meanwhile_is_not_disturbed(
    store: JobStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = JobFolder(tmp_path / "talk", fps=25)
    job = job_with(store, folder.path)
    finish_window(folder, 0)

    def joined_while_the_worker_writes(arguments: list[str], **given: Any) -> bytes:
        finish_window(folder, 1)
        return run_ffmpeg(arguments, **given)

    monkeypatch.setattr(so_far, "run_ffmpeg", joined_while_the_worker_writes)
    made = video_so_far(job)
    assert made is not None and probe_video(made).frames == 10 and folder.finished() == 2


def test_silence_has_no_sound(store: JobStore, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "talk", fps=25)
    job = job_with(store, folder.path)
    finish_window(folder, 0)
    made = video_so_far(job)
    assert made is not None and not probe_video(made).has_sound


def test_a_damaged_window_is_an_error_and_one_that_is_gone_is_none(store: JobStore, tmp_path: Path) -> None:
    folder = JobFolder(tmp_path / "talk", fps=25)
    job = job_with(store, folder.path)
    finish_window(folder, 0)
    folder.segments()[0].write_bytes(b"no video")
    with pytest.raises(RuntimeError):
        video_so_far(job)
    assert [path.name for path in folder.path.glob("*") if "window" not in path.name] == []
    assert video_so_far(replace(job, folder=str(tmp_path / "gone"))) is None
