"""The strip of a finished video's windows, and what its buttons begin: real videos of tiny models."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gradio as gr
import numpy as np
import numpy.typing as npt
import pytest

from tests.media.media_files import picture, write_sound
from tests.tiny_models import write_tiny_models
from tests.ui.test_fields import CPU
from ui.cards import result_card
from ui.film import Film, film_of
from ui.language import speaking
from ui.page import place_parts
from ui.parts import Page
from ui.redo import redone_settings
from ui.result_actions import redo
from ui.texts import say
from ui.timeline import REDO, index_of, timeline
from wanvideo.cache_folder import VARIABLE
from wanvideo.errors import Cancelled, UserError
from wanvideo.finished_file import keep_finished
from wanvideo.jobs.endings import result_of, told_by
from wanvideo.jobs.job import QUEUED, Job, queue_file
from wanvideo.jobs.store import JobStore
from wanvideo.media.frames import read_frames
from wanvideo.media.probe import probe_video
from wanvideo.media.sound import load_sound
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import generate
from wanvideo.prepare import prepare
from wanvideo.request import ProgressEvent, read_options, read_request

KEEPS = [9, 4, 4, 3]  # of a talk of 20 frames


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(VARIABLE, str(folder / "cache"))
        write_tiny_models(folder / "models")
        (folder / "out/uploads").mkdir(parents=True)
        picture(96, 64).save(folder / "out/uploads/face.png")
        write_sound(folder / "out/uploads/speech.wav", 0.8, 44_100)
        yield folder


@pytest.fixture(scope="module")
def page(home: Path) -> Page:
    folders = {"output_dir": str(home / "out"), "models_dir": str(home / "models")}
    with gr.Blocks():
        return place_parts(JobStore(queue_file(home / "out")), folders, CPU)


@pytest.fixture(autouse=True)
def toasts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    told: list[str] = []
    for kind in ("Info", "Warning"):
        monkeypatch.setattr(gr, kind, lambda text, **_: told.append(text))
    return told


@pytest.fixture(scope="module")
def cache() -> ModelCache:
    return ModelCache()


def asked(home: Path, **request: Any) -> dict[str, Any]:
    files = home / "out/uploads"
    talk = {"task": "talk", "image": str(files / "face.png"), "audio": [str(files / "speech.wav")]}
    return {**talk, "prompt": "a | b | c", "seed": 5, **request}


def made(page: Page, cache: ModelCache, request: dict[str, Any]) -> Job:
    """A job of the queue and its video, as the worker makes it."""
    number = page.store.add(read_request(request), read_options({"use_tf32": True}))
    return carried_out(page, cache, number)


def carried_out(page: Page, cache: ModelCache, number: int) -> Job:
    job = page.store.claim("w")
    assert job is not None and job.id == number
    options = read_options({**job.options, **page.folders})
    result = generate(prepare(read_request(job.request), options)[0], cache)
    page.store.finish(job, {**result_of(result.plan, result.output), **told_by(result)})
    return found(page, number)


def found(page: Page, number: int) -> Job:
    job = page.store.get(number)
    assert job is not None
    return job


@pytest.fixture(scope="module")
def talk(page: Page, home: Path, cache: ModelCache) -> Job:
    return made(page, cache, asked(home))


def film(job: Job) -> Film:
    known = film_of(job)
    assert known is not None
    return known


def frames_of(job: Job) -> npt.NDArray[np.uint8]:
    return np.stack(list(read_frames(job.result["output"], 25)))


def test_the_strip_tells_of_each_window(talk: Job) -> None:
    strip = timeline(talk)
    assert strip in result_card(talk)
    assert [part.frames for part in film(talk).parts] == KEEPS and film(talk).rest is None
    assert re.findall(r"<span>(.*?)</span>", strip) == [
        say("timeline_span", start=start, end=end)
        for start, end in (("0.0", "0.4"), ("0.4", "0.5"), ("0.5", "0.7"), ("0.7", "0.8"))
    ]
    assert strip.count("data:image/jpeg;base64,") == 4 == strip.count("sdpa, disabled")
    assert re.findall(r"data-action='(\S+)' data-job='(\d+)'", strip) == [
        (f"{REDO}{index}", str(talk.id)) for index in range(4)
    ]
    colours = talk.result["quality"]["colour_drift"]["values"]
    jumps = talk.result["quality"]["seam_jump"]["values"]
    assert len(colours) == 4 and len(jumps) == 3
    for window, tile in enumerate(strip.split("<li>")[1:]):
        assert f"{say('timeline_colour')} {colours[window]:.2g}<" in tile
        assert (say("timeline_jump") in tile) == (window > 0)
        assert window == 0 or f"{say('timeline_jump')} {jumps[window - 1]:.2g}<" in tile
    with speaking("zh"):
        assert "从此处重做" in timeline(talk)


def test_what_is_past_a_limit_is_marked_where_it_is(talk: Job) -> None:
    figure = {**talk.result["quality"]["seam_jump"], "values": [0.1, 9.0, None], "limit": 2.0}
    bad = replace(talk, result={**talk.result, "quality": {"seam_jump": figure}})
    tiles = timeline(bad).split("<li>")[1:]
    assert [("class='past'" in tile, say("timeline_jump") in tile) for tile in tiles] == [
        (False, False),
        (False, True),
        (True, True),
        (False, False),
    ]


def test_windows_made_in_other_ways_say_so(talk: Job) -> None:
    ways = ["a, b", "a, b", "<c>, b", "<c>, b"]
    ran = {**talk.result["effective"], "window_ways": ways}
    strip = timeline(replace(talk, result={**talk.result, "effective": ran}))
    assert strip.count("a, b<") == 2 == strip.count("&lt;c&gt;, b<") and "<c>" not in strip


@pytest.mark.parametrize("index", [0, 1, 3])
def test_a_window_made_anew_keeps_what_is_before_it_and_the_sound(
    page: Page, talk: Job, cache: ModelCache, toasts: list[str], index: int
) -> None:
    assert set(redo(page, SimpleNamespace(action=f"{REDO}{index}", job=talk.id))) == {page.tabs}
    (queued,) = (job for job in page.store.list() if job.state == QUEUED)
    assert toasts == [say("queued_one", first=queued.id)]
    assert queued.request["seed"] not in (-1, 5) and queued.options["use_tf32"]
    again = carried_out(page, cache, queued.id)
    kept = sum(KEEPS[:index])
    old, new = frames_of(talk), frames_of(again)
    assert len(new) == len(old) == 20
    np.testing.assert_array_equal(new[:kept], old[:kept])
    assert (new[kept:] != old[kept:]).any()
    assert [part.frames for part in film(again).parts] == ([kept] if kept else []) + KEEPS[index:]
    sounds = [load_sound(job.result["output"]).samples for job in (talk, again)]
    assert len(sounds[0]) == len(sounds[1]) and np.abs(sounds[0] - sounds[1]).mean() < 0.01
    assert (say("timeline_kept") in timeline(again)) == bool(kept)


def test_prompts_and_speech_of_what_is_kept_are_left_out(page: Page, home: Path, cache: ModelCache) -> None:
    job = made(page, cache, asked(home, num_frames=13, seed=6))
    video = Path(job.result["output"])
    late = redone_settings(job, 1, video).request
    assert (late["prompt"], late["extends"], late["seed"]) == ("b | c", str(video), -1)
    assert (late["extends_from"], late["audio_start"], late["seconds"], late["num_frames"]) == (
        9 / 25,
        9 / 25,
        4 / 25,
        None,
    )
    whole = redone_settings(job, 0, video).request
    assert (whole["prompt"], whole["num_frames"], whole["seed"]) == ("a | b | c", 13, -1)
    assert whole.get("extends") is None
    with pytest.raises(UserError, match="can't be made anew"):
        redone_settings(job, 2, video)


def test_a_window_of_what_was_made_anew_is_made_anew(page: Page, talk: Job, cache: ModelCache) -> None:
    first = made(page, cache, to_request(redone_settings(talk, 1, Path(talk.result["output"])).request))
    again = redone_settings(first, 1, Path(first.result["output"])).request
    assert (again["extends_from"], again["audio_start"]) == (13 / 25, 13 / 25)
    assert again["prompt"] == "c"
    second = made(page, cache, to_request(again))
    assert probe_video(second.result["output"]).frames == 20
    np.testing.assert_array_equal(frames_of(second)[:13], frames_of(first)[:13])


def to_request(settings: Any) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if value is not None} | {"seed": 77}


def test_a_stopped_job_s_video_can_be_brought_to_its_end(page: Page, home: Path, cache: ModelCache) -> None:
    def stop(event: ProgressEvent) -> None:
        if event.window == 2 and event.step:
            raise Cancelled

    page.store.add(read_request(asked(home, seed=8)), read_options({}))
    job = page.store.claim("w")
    assert job is not None
    plan = prepare(read_request(job.request), read_options(page.folders))[0]
    with pytest.raises(Cancelled):
        generate(plan, cache, stop)
    kept = keep_finished(plan)
    assert kept is not None
    page.store.request_stop(job.id)
    page.store.stop(job, result_of(plan, kept))
    job = found(page, job.id)
    assert [part.frames for part in film(job).parts] == KEEPS[:2]
    strip = timeline(job)
    assert say("redo_rest") in strip and strip.count(say("redo") + "<") == 2
    rest = made(page, cache, to_request(redone_settings(job, 2, kept).request))
    assert probe_video(rest.result["output"]).frames == 20
    np.testing.assert_array_equal(frames_of(rest)[:13], frames_of(job))


def test_where_nothing_is_known_nothing_is_shown(talk: Job, tmp_path: Path) -> None:
    def of(**changed: Any) -> Job:
        return replace(talk, result={**talk.result, **changed})

    ran = talk.result["effective"]
    assert timeline(of(output=str(tmp_path / "gone.mp4"))) == ""
    assert timeline(of(effective={name: ran[name] for name in ran if name != "window_frames"})) == ""
    assert timeline(of(effective={**ran, "frames": 9})) == "", "one window has no strip"
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    assert "cannot be used" in timeline(of(output=str(tmp_path / "broken.mp4")))


def test_a_talk_that_follows_a_video_has_no_buttons(talk: Job) -> None:
    follows = replace(talk, request={**talk.request, "video": "film.mp4"})
    assert REDO not in timeline(follows) and "<li>" in timeline(follows)
    with pytest.raises(UserError):
        redone_settings(follows, 1, Path(talk.result["output"]))


def test_a_video_that_is_gone_is_told(page: Page, talk: Job, toasts: list[str]) -> None:
    job = SimpleNamespace(action=f"{REDO}9", job=talk.id)
    before = len(page.store.list())
    assert set(redo(page, job)) == {page.tabs}
    assert len(toasts) == 1 and len(page.store.list()) == before


@pytest.mark.parametrize(
    ("action", "index"), [("redo-0", 0), ("redo-12", 12), ("redo--1", None), ("redo-", None), ("swap", None)]
)
def test_the_action_names_the_window(action: str, index: int | None) -> None:
    assert index_of(action) == index
