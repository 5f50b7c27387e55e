"""Several pictures, recordings, prompts and seeds at once: which videos they make, and what is refused."""

from pathlib import Path
from typing import Any

import gradio as gr
import pytest
from PIL import Image

from ui.batch import MOST_VIDEOS, Batch, combinations, read_batch, read_seeds
from ui.batch_events import add_batch, foresee, is_batch
from ui.parts import Page
from ui.texts import say
from wanvideo.errors import UserError
from wanvideo.request import IMAGE_TO_VIDEO, TALK, TEXT_TO_VIDEO

Form = dict[Any, Any]
PICTURES = ("a.png", "b.png")


def made(batch: Batch, **form: Any) -> list[dict[str, Any]]:
    return [dict(one.settings) for one in combinations(batch, form)]


def pictures(folder: Path, *names: str) -> list[str]:
    for name in names:
        Image.new("RGB", (64, 64), "teal").save(folder / name)
    return [str(folder / name) for name in names]


def given(page: Page, values: Form, **batch: Any) -> Form:
    part = page.generation.batch
    return values | {getattr(part, name): value for name, value in batch.items()}


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("", ()), ("7", (7,)), ("1, 2, 3", (1, 2, 3)), ("1 2;3\n4，5", (1, 2, 3, 4, 5)), (" , ", ())],
)
def test_seeds_are_read(text: str, seeds: tuple[int, ...]) -> None:
    assert read_seeds(text) == seeds


@pytest.mark.parametrize("text", ["one", "1.5", "-1", "1, x"])
def test_what_is_no_seed_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="whole numbers"):
        read_seeds(text)


def test_as_many_recordings_as_pictures_are_paired_in_order() -> None:
    videos = made(Batch(pictures=PICTURES, sounds=("1.wav", "2.wav")))
    assert videos == [{"image": "a.png", "audio": ["1.wav"]}, {"image": "b.png", "audio": ["2.wav"]}]


def test_otherwise_each_goes_with_each() -> None:
    videos = made(Batch(pictures=PICTURES, sounds=("1.wav", "2.wav", "3.wav")))
    assert len(videos) == 6 and {(video["image"], *video["audio"]) for video in videos} == {
        (picture, sound) for picture in PICTURES for sound in ("1.wav", "2.wav", "3.wav")
    }
    assert made(Batch(sounds=("1.wav", "2.wav"))) == [{"audio": ["1.wav"]}, {"audio": ["2.wav"]}]


def test_prompts_and_seeds_multiply_and_seeds_replace_the_variations() -> None:
    batch = Batch(pictures=PICTURES, prompts=("x", "y"), seeds=(1, 2, 3))
    videos = made(batch, count=4)
    assert len(videos) == 12
    assert {(v["image"], v["prompt"], v["seed"], v["count"]) for v in videos} == {
        (picture, prompt, seed, 1) for picture in PICTURES for prompt in "xy" for seed in (1, 2, 3)
    }
    assert "count" not in made(Batch(prompts=("x",)), count=4)[0]


def test_a_second_speaker_stays() -> None:
    assert made(Batch(sounds=("1.wav",)), audio=["old.wav", "second.wav"]) == [
        {"audio": ["1.wav", "second.wav"]}
    ]


def test_there_is_a_limit_and_variations_count() -> None:
    seeds = tuple(range(MOST_VIDEOS))
    assert len(made(Batch(seeds=seeds), count=9)) == MOST_VIDEOS
    with pytest.raises(UserError, match=str(MOST_VIDEOS + 1)):
        made(Batch(seeds=(*seeds, MOST_VIDEOS)))
    with pytest.raises(UserError, match="303"):
        made(Batch(prompts=("x", "y", "z")), count=101)


def test_each_video_has_a_name_of_its_own() -> None:
    batch = Batch(
        pictures=("/up/a.png",), sounds=("/up/1.wav", "/up/2.wav"), prompts=("x", "y"), seeds=(5, 6)
    )
    names = [one.name for one in combinations(batch, {})]
    assert len(set(names)) == 8 and names[0] == f"a.png + 1.wav + x + {say('batch_seed', seed=5)}"


def test_only_what_the_task_has_is_read(page: Page, values: Form) -> None:
    part = page.generation.batch
    form = given(page, values, files=["a.PNG", "1.WAV"], prompts="one\n\n two ")
    assert read_batch(part, form, TALK) == Batch(
        pictures=("a.PNG",), sounds=("1.WAV",), prompts=("one", "two")
    )
    assert read_batch(part, form, TEXT_TO_VIDEO) == Batch(prompts=("one", "two"))
    with pytest.raises(UserError, match=r"1\.WAV"):
        read_batch(part, form, IMAGE_TO_VIDEO)
    assert not is_batch(page, values) and is_batch(page, form)
    assert not read_batch(part, values, TALK)


def test_each_combination_becomes_a_job(
    page: Page,
    values: Form,
    capsys: pytest.CaptureFixture[str],
) -> None:
    form = given(page, values, prompts="a red ball\na blue ball", seeds="3, 4")
    emptied = add_batch(page, form)
    assert "4 videos" in capsys.readouterr().out, "what gradio makes of a toast outside a request"
    jobs = [(job.request["prompt"], job.request["seed"]) for job in reversed(page.store.list())]
    assert sorted(jobs) == [(f"a {colour} ball", seed) for colour in ("blue", "red") for seed in (3, 4)]
    assert set(emptied) == set(page.generation.batch.widgets)


def test_variations_of_each_are_drawn_seeds(page: Page, values: Form) -> None:
    form = given(page, values | {page.form["count"]: 2}, prompts="one\ntwo")
    add_batch(page, form)
    seeds = [job.request["seed"] for job in page.store.list()]
    assert len(set(seeds)) == 4 and min(seeds) >= 0


def test_a_refused_one_is_named_and_the_others_go_in(
    page: Page,
    values: Form,
    tmp_path: Path,
) -> None:
    files = pictures(tmp_path, "good.png", "fine.png")
    broken = tmp_path / "broken.png"
    broken.write_text("no picture")
    of_picture = {page.form["task"]: IMAGE_TO_VIDEO, page.form["model"]: "tiny_i2v"}
    form = given(page, values | of_picture, files=[files[0], str(broken), files[1]])
    with pytest.warns(UserWarning) as told:
        add_batch(page, form)
    words = " ".join(str(warning.message) for warning in told)
    assert "broken.png" in words and "good.png" not in words
    assert {Path(job.request["image"]).name for job in page.store.list()} == {"good.png", "fine.png"}


def test_what_the_queue_refuses_is_named_too(
    page: Page,
    values: Form,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object) -> int:
        raise gr.Error("your queue is full")

    monkeypatch.setattr(page.store, "add", full)
    with pytest.warns(UserWarning, match=r"one: your queue is full"):
        assert add_batch(page, given(page, values, prompts="one")) == {}


def test_the_forecast_says_how_many_and_how_long(page: Page, values: Form) -> None:
    def line(**batch: Any) -> str:
        return str(foresee(page, given(page, values, **batch))[page.generation.forecast])

    assert "4 videos" in line(prompts="one\ntwo", seeds="1, 2") and "9 frames" in line(prompts="one")
    assert "videos" not in line()
    assert "whole numbers" in line(seeds="x")
    assert str(MOST_VIDEOS) in line(prompts="\n".join(map(str, range(MOST_VIDEOS + 1))))


def test_pictures_of_the_batch_need_none_in_the_form(
    page: Page,
    values: Form,
    tmp_path: Path,
) -> None:
    form = values | {page.form["task"]: IMAGE_TO_VIDEO, page.form["model"]: "tiny_i2v"}
    assert say("needs_image_to_video") in foresee(page, form)[page.generation.forecast]
    files = [*pictures(tmp_path, *PICTURES), str(tmp_path / "missing.png")]
    said = foresee(page, given(page, form, files=files))[page.generation.forecast]
    assert "3 videos" in said and "missing.png" in said


def test_an_incomplete_form_is_not_queued(page: Page, values: Form) -> None:
    form = given(page, values | {page.form["prompt"]: ""}, seeds="1, 2")
    with pytest.warns(UserWarning, match=say("needs_text_to_video")):
        assert add_batch(page, form) == {}
    assert not page.store.list()
