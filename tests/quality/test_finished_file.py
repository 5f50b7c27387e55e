"""The report goes into the file and the result; a file that is not whole gets no name."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.media.media_files import grey_frames, tone
from tests.test_pipeline import REQUESTS, home, plan_of  # noqa: F401  # home is a fixture
from wanvideo.errors import Cancelled
from wanvideo.finished_file import job_folder, keep_finished
from wanvideo.media.frames import read_frames
from wanvideo.media.segments import JobFolder
from wanvideo.media.sound import Sound
from wanvideo.media.video import join_segments, read_metadata
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.request import ProgressEvent


def written(path: Path) -> Any:
    return json.loads(read_metadata(path)["comment"])["quality"]


def stop_in_the_second_window(event: ProgressEvent) -> None:
    if event.window == 1 and event.step:
        raise Cancelled


def test_talk_is_measured_window_by_window_through_a_break(home: Path) -> None:  # noqa: F811
    plan, cache = plan_of(home, **REQUESTS["talk"], seed=71), ModelCache()
    whole = generate(replace(plan, output=plan.output.with_stem("measured")), cache)
    figures = whole.quality.as_mapping()
    assert written(whole.output) == figures
    assert len(plan.windows) == 3
    assert {name: len(told["values"]) for name, told in figures.items()} == {
        **dict.fromkeys(("colour_drift", "colour_spread", "frozen", "flat"), 3),
        "seam_jump": 2,
        "sound_length": 1,
    }
    assert figures["colour_drift"]["worst"] < 1, "colour correction is 1"
    with pytest.raises(Cancelled):
        generate(plan, cache, stop_in_the_second_window)
    resumed = generate(plan, cache)
    assert resumed.quality == whole.quality


def test_a_seam_is_the_change_between_the_frames_beside_it(home: Path) -> None:  # noqa: F811
    plan = plan_of(home, **REQUESTS["talk"], seed=76)
    result = generate(plan, ModelCache())
    frames = np.stack(list(read_frames(result.output))).astype(float)
    change = np.abs(np.diff(frames, axis=0)).mean(axis=(1, 2, 3))
    seams = [window.start + window.skip for window in plan.windows[1:]]
    parts = np.split(change, [border for seam in seams for border in (seam - 1, seam)])[::2]
    jumps = [
        change[seam - 1] / max(parts[place].max(initial=0), parts[place + 1].max(initial=0))
        for place, seam in enumerate(seams)
    ]
    assert result.quality.as_mapping()["seam_jump"]["values"] == pytest.approx(jumps, rel=0.01)


def test_without_colour_correction_the_drift_is_seen(home: Path) -> None:  # noqa: F811
    plan = plan_of(home, **REQUESTS["silent talk"], seed=72, color_correction=0)
    quality = generate(plan, ModelCache()).quality.as_mapping()
    assert quality["colour_drift"]["past"] and "correction 1" in quality["colour_drift"]["fix"]
    assert "sound_length" not in quality


def test_a_video_without_a_reference_has_no_drift(home: Path) -> None:  # noqa: F811
    result = generate(plan_of(home, **REQUESTS["text to video"], seed=73), ModelCache())
    assert set(result.quality.as_mapping()) == {"frozen", "flat"}


def test_what_a_stopped_job_keeps_is_measured_too(home: Path) -> None:  # noqa: F811
    plan = plan_of(home, **REQUESTS["talk"], seed=74)
    with pytest.raises(Cancelled):
        generate(plan, ModelCache(), stop_in_the_second_window)
    part = keep_finished(plan)
    assert part is not None and len(written(part)["flat"]["values"]) == 1


def test_windows_that_an_older_version_left_are_joined(home: Path) -> None:  # noqa: F811
    plan = plan_of(home, **REQUESTS["talk"], seed=75)
    with pytest.raises(Cancelled):
        generate(plan, ModelCache(), stop_in_the_second_window)
    folder = job_folder(plan)
    motion = folder.load_state(0)["motion"]
    folder.append(0, grey_frames(9), {"motion": motion})
    result = generate(plan, ModelCache())
    assert result.quality.as_mapping()["flat"]["values"] == [None, 0.0, 0.0]


@pytest.fixture
def segments(tmp_path: Path) -> list[Path]:
    job = JobFolder(tmp_path / "job", fps=25)
    job.append(0, np.random.default_rng(0).integers(0, 255, (31, 64, 64, 3), np.uint8), {"x": torch.zeros(1)})
    return job.segments()


@pytest.mark.parametrize("seconds", [0.3, 5.0])
def test_the_metadata_may_tell_of_the_measured_sound(
    tmp_path: Path, segments: list[Path], seconds: float
) -> None:
    told: list[float | None] = []

    def metadata(difference: float | None) -> dict[str, str]:
        told.append(difference)
        return {"comment": "measured"}

    for sound in (Sound(samples=tone(seconds), rate=22_050), None):
        path = join_segments(segments, tmp_path / "out.mp4", fps=25, sound=sound, metadata=metadata)
        assert read_metadata(path)["comment"] == "measured"
    assert told[0] is not None and abs(told[0]) < 1 / 25
    assert told[1] is None


def test_a_file_that_was_cut_off_gets_no_name(
    tmp_path: Path, segments: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wanvideo.media import video

    tag = video._tag

    def cut_off(joined: Path, metadata: Any) -> Path:
        tagged = tag(joined, metadata)
        tagged.write_bytes(tagged.read_bytes()[:-20_000])
        return tagged

    monkeypatch.setattr(video, "_tag", cut_off)
    with pytest.raises(RuntimeError, match="of 31 frames"):
        join_segments(segments, tmp_path / "results" / "out.mp4", fps=25, sound=None, metadata={})
    assert list((tmp_path / "results").iterdir()) == []
