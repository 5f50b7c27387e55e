"""The videos of an output folder: what is listed and found, what hostile files do, and the trash."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wanvideo.cache_folder import VARIABLE
from wanvideo.errors import UserError
from wanvideo.fields import LoraChoice
from wanvideo.library import results
from wanvideo.library.results import PAGE, TRASH, find_result, list_results, move_to_trash, save_last_frame
from wanvideo.library.settings import (
    LONGEST_TEXT,
    MOST_CHARACTERS,
    MOST_NOTES,
    MOST_ROWS,
    REPEATABLE,
    parse_settings,
    read_settings,
)
from wanvideo.media.frames import read_frames
from wanvideo.media.segments import write_segment
from wanvideo.media.video import join_segments
from wanvideo.request import OPTION_FIELDS

REQUEST = {"task": "text_to_video", "prompt": "A red Ball bounces", "seed": 7}
EFFECTIVE = {"attention": "sdpa", "quantization": "disabled", "seed": 7, "size": [64, 48], "flow_shift": 3.0}
COMMENT = {"request": REQUEST, "effective": EFFECTIVE, "notes": ["tiled VAE"], "version": "1"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "out"
    made.mkdir()
    return made


def write_video(path: Path, comment: Any = COMMENT, age: float = 0.0, seconds: float = 0.5) -> Path:
    """A real video whose frames go from black to white; `age` in seconds."""
    levels = np.linspace(0, 255, max(2, round(8 * seconds))).astype(np.uint8)
    frames = np.broadcast_to(levels[:, None, None, None], (len(levels), 48, 64, 3)).copy()
    segment = path.with_name(f"{path.name}.segment.mp4")
    write_segment([frames], segment, fps=8)
    text = comment if isinstance(comment, str) else json.dumps(comment)
    made = join_segments([segment], path, fps=8, sound=None, metadata={"comment": text} if text else {})
    segment.unlink()
    os.utime(made, (time.time() - age,) * 2)
    return made


def test_the_newest_comes_first_with_its_facts_and_a_thumbnail(folder: Path) -> None:
    write_video(folder / "old.mp4", age=100)
    write_video(folder / "new.mp4", seconds=1.0)
    shelf = list_results(folder)
    assert [result.path.name for result in shelf.results] == ["new.mp4", "old.mp4"]
    facts = shelf.results[0].facts
    assert (facts.width, facts.height, facts.frames, facts.fps) == (64, 48, 8, 8.0)
    assert facts.seconds == pytest.approx(1.0)
    assert shelf.results[0].thumbnail.read_bytes().startswith(b"\xff\xd8\xff")
    assert shelf.results[0].settings().request["prompt"] == "A red Ball bounces"


def test_a_video_is_looked_into_once_and_again_when_it_changed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_video(folder / "a.mp4")
    inspect, looks = results._inspect, []
    monkeypatch.setattr(results, "_inspect", lambda *about: (looks.append(about), inspect(*about))[1])
    for _ in range(3):
        (result,) = list_results(folder).results
    assert len(looks) == 1
    result.thumbnail.unlink()
    assert list_results(folder).results[0].thumbnail.exists() and len(looks) == 2
    os.utime(video, (1, 1))
    assert list_results(folder).results and len(looks) == 3


def test_pages_of_24(folder: Path) -> None:
    first = write_video(folder / "00.mp4", age=1000)
    for number in range(1, PAGE + 2):
        copy = folder / f"{number:02}.mp4"
        copy.write_bytes(first.read_bytes())
        os.utime(copy, (number, number))
    assert (PAGE, len(list_results(folder).results)) == (24, 24)
    last = list_results(folder, number=99)
    assert (last.number, last.pages, last.total, len(last.results)) == (2, 2, 26, 2)
    assert list_results(folder, number=-3).number == 1


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("BALL", {"one.mp4"}),
        ("red bounces", {"one.mp4"}),
        ("red blue", set()),
        ("seed=7", {"one.mp4"}),
        ("attention=sdpa", {"one.mp4", "two.mp4"}),
        ("two", {"two.mp4"}),
        ("  ", {"one.mp4", "two.mp4", "plain.mp4"}),
    ],
)
def test_search_looks_at_prompt_settings_and_name(folder: Path, search: str, found: set[str]) -> None:
    write_video(folder / "one.mp4")
    other = {**REQUEST, "prompt": "a blue cube", "seed": 8}
    write_video(folder / "two.mp4", {"request": other, "effective": {**EFFECTIVE, "seed": 8}})
    write_video(folder / "plain.mp4", "")
    assert {result.path.name for result in list_results(folder, search).results} == found


def test_only_plain_files_of_the_folder_are_results(folder: Path, tmp_path: Path) -> None:
    outside = write_video(tmp_path / "outside.mp4")
    write_video(folder / "inside.mp4")
    (folder / "link.mp4").symlink_to(outside)
    (folder / "sub").mkdir()
    write_video(folder / "sub" / "deep.mp4")
    write_video(folder / ".hidden.mp4")
    (folder / "folder.mp4").mkdir()
    (folder / "notes.txt").write_text("words")
    assert [result.path.name for result in list_results(folder).results] == ["inside.mp4"]
    for name in (
        "link.mp4",
        "../outside.mp4",
        "sub/deep.mp4",
        str(outside),
        "",
        ".",
        "inside.mp4/",
        "x\0.mp4",
    ):
        with pytest.raises(UserError, match="not in the output folder"):
            find_result(folder, name)
        with pytest.raises(UserError):
            move_to_trash(folder, name)
    assert outside.exists() and (folder / "sub" / "deep.mp4").exists()


def test_an_output_folder_that_is_not_there_has_no_results(tmp_path: Path) -> None:
    shelf = list_results(tmp_path / "none")
    assert (shelf.total, shelf.pages, shelf.results) == (0, 1, ())


def test_a_damaged_file_is_listed_with_its_reason(folder: Path) -> None:
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("no video")
    faults = {result.path.name: result.facts.fault for result in list_results(folder).results}
    assert "empty" in faults["empty.mp4"] and "text" in faults["text.mp4"]
    assert list_results(folder, "empty").total == 1


def test_delete_moves_to_the_trash_and_overwrites_nothing_there(folder: Path) -> None:
    contents = []
    for _ in range(3):
        video = write_video(folder / "a.mp4", {**COMMENT, "notes": [str(len(contents))]})
        contents.append(video.read_bytes())
        thumbnail = list_results(folder).results[0].thumbnail
        moved = move_to_trash(folder, "a.mp4")
        assert moved.parent == folder / TRASH and moved.read_bytes() == contents[-1]
        assert not video.exists() and not thumbnail.exists()
    assert sorted(file.read_bytes() for file in (folder / TRASH).iterdir()) == sorted(contents)
    assert list_results(folder).total == 0


def test_a_trash_that_leads_out_of_the_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (folder / TRASH).symlink_to(tmp_path / "elsewhere")
    video = write_video(folder / "a.mp4")
    with pytest.raises(UserError, match="not a link"):
        move_to_trash(folder, "a.mp4")
    assert video.exists()


def test_the_last_frame_is_the_last_one_and_kept_as_an_upload_is(folder: Path) -> None:
    write_video(folder / "a.mp4", seconds=2.0)
    picture = save_last_frame(find_result(folder, "a.mp4"), folder / "uploads")
    from PIL import Image

    *_, last = read_frames(folder / "a.mp4", 8.0)
    with Image.open(picture) as image:
        assert image.format == "PNG" and np.array_equal(np.asarray(image), last) and last.mean() > 240
    assert len(picture.parent.name) == 64 and picture.parent.parent == folder / "uploads"


def test_settings_come_back_from_a_file(folder: Path) -> None:
    found = read_settings(write_video(folder / "a.mp4"))
    assert found.request == {"task": "text_to_video", "prompt": "A red Ball bounces", "seed": 7}
    assert found.options == {"attention": "sdpa", "quantization": "disabled"}
    assert found.effective["size"] == "64, 48" and found.effective["flow shift"] == "3"
    assert found.notes == ("tiled VAE",)


def test_what_can_be_repeated_are_options() -> None:
    assert set(REPEATABLE) <= set(OPTION_FIELDS)


def test_no_folder_comes_in_by_a_file() -> None:
    request = {
        "image": "../../etc/passwd",
        "video": "C:\\secret\\film.mp4",
        "audio": ["/home/a/b.wav", "c.wav"],
        "model": "/models/other.safetensors",
        "loras": [{"file": "../x/style.safetensors", "strength": 0.5}],
    }
    found = parse_settings(json.dumps({"request": request}), "a.mp4").request
    assert (
        found["image"] == "passwd" and found["video"] == "film.mp4" and found["audio"] == ("b.wav", "c.wav")
    )
    assert found["model"] == "other.safetensors"
    assert found["loras"] == (LoraChoice(file="style.safetensors", strength=0.5),)


@pytest.mark.parametrize(
    ("comment", "said"),
    [
        ("", "holds no settings"),
        ("just words", "not of this program"),
        ("[" * 100_000, "not of this program"),
        ('{"request":' * 5000, "not of this program"),
        ("[1, 2]", "not of this program"),
        ('{"prompt": "a comfy workflow"}', "not of this program"),
        ('{"request": [1]}', "not of this program"),
        ('{"request": {"nix": 1}}', "unknown setting"),
        ('{"request": {"seed": "many"}}', "whole number"),
        ('{"request": {"width": 1e999}}', "width"),
        ('{"request": {"seed": ' + "9" * 6000 + "}}", "not of this program"),
        ('{"request": {"task": "<img src=x>"}}', "choices"),
        ('{"request": {"audio": [1]}}', "file paths"),
        ('{"request": {}, "effective": {"attention": {"a": 1}}}', "attention"),
        ('{"request": {"image": "' + "x" * MOST_CHARACTERS + '"}}', "longer than"),
    ],
)
def test_hostile_metadata_is_refused_in_one_sentence(comment: str, said: str) -> None:
    with pytest.raises(UserError, match="a.mp4") as refused:
        parse_settings(comment, "a.mp4")
    text = str(refused.value)
    assert said in text and "\n" not in text and len(text) < 2 * LONGEST_TEXT


def test_what_is_shown_of_metadata_has_bounds() -> None:
    hostile = {
        "request": {},
        "effective": {str(number) * 300: "y" * 5000 for number in range(90)},
        "notes": ["z" * 5000] * 60,
    }
    found = parse_settings(json.dumps(hostile), "a.mp4")
    assert len(found.effective) == MOST_ROWS and len(found.notes) == MOST_NOTES
    words = [*found.effective, *found.effective.values(), *found.notes]
    assert max(map(len, words)) <= LONGEST_TEXT + 1
    assert parse_settings('{"request": {}, "effective": [1], "notes": "none"}', "a.mp4").notes == ()


def test_hundreds_of_results_are_searched_quickly(folder: Path) -> None:
    content = write_video(folder / "0000.mp4").read_bytes()
    for number in range(1, 300):
        (folder / f"{number:04}.mp4").write_bytes(content)
    assert list_results(folder, "red").total == 300
    begun = time.perf_counter()
    assert list_results(folder, "red").total == 300
    assert time.perf_counter() - begun < 1.0
