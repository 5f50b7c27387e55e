"""What the planner makes of a video to go on from: size, rate, windows, notes; what it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.plan_cases import (
    CPU,
    DUET,
    NOTHING,
    PAIR,
    POCKET,
    REAL,
    SPEECH,
    SPOKEN,
    STILL,
    TALK,
    TEXT,
    Values,
    picture,
    plan,
    sound,
)
from wanvideo.errors import UserError
from wanvideo.inputs import InputFacts, inspect_inputs
from wanvideo.media.old_video import OldVideo
from wanvideo.media.probe import VideoFacts
from wanvideo.prepare import prepare
from wanvideo.request import read_options, read_request
from wanvideo.windows import plan_windows
from wanvideo.wording import describe_plan

AGAIN: Values = {"task": "talk", "extends": "old.mp4"}
SPOKEN_AGAIN: Values = {**AGAIN, "audio": ["a.wav"]}
MOVED_AGAIN: Values = {"task": "image_to_video", "extends": "old.mp4"}


def old(frames: int = 77, fps: float = 25, *, ours: bool = True, seconds: float | None = None) -> OldVideo:
    facts = VideoFacts(
        width=448, height=832, frames=frames, fps=fps, seconds=seconds or frames / fps, has_sound=True
    )
    return OldVideo(path=Path("films/old.mp4"), facts=facts, is_like_ours=ours)


def going_on(facts: InputFacts = NOTHING, **how: Any) -> InputFacts:
    return replace(facts, old=old(**how))


HEARD = going_on(InputFacts(sounds=(sound(4.0),)))
MADE: list[tuple[str, Values, InputFacts, Values]] = [
    (
        "talk",
        SPOKEN_AGAIN,
        HEARD,
        {
            "size": (448, 832),
            "fps": 25.0,
            "frames": 100,
            "keeps": [72, 28],
            "skips": [9, 9],
            "starts": [0, 72],
        },
    ),
    ("talk with its picture", SPOKEN_AGAIN | {"image": "a.png"}, going_on(SPOKEN), {"size": (448, 832)}),
    ("seconds are of the new part", {**SPOKEN_AGAIN, "seconds": 2}, HEARD, {"frames": 50, "keeps": [50]}),
    ("so are frames", {**SPOKEN_AGAIN, "num_frames": 81}, HEARD, {"frames": 81, "keeps": [72, 9]}),
    ("silence fills a window", AGAIN, going_on(fps=16), {"frames": 72, "keeps": [72], "fps": 16.0}),
    ("a picture's", MOVED_AGAIN, going_on(fps=16), {"frames": 80, "keeps": [80], "skips": [1], "fps": 16.0}),
    ("a picture's seconds", {**MOVED_AGAIN, "seconds": 2}, going_on(fps=24), {"frames": 48, "skips": [1]}),
    ("a rate of many digits", MOVED_AGAIN, going_on(fps=30000 / 1001), {"fps": 30000 / 1001}),
    ("the same rate", {**MOVED_AGAIN, "fps": 29.97}, going_on(fps=30000 / 1001), {"fps": 30000 / 1001}),
    ("the same size", {**MOVED_AGAIN, "width": 448, "height": 832}, going_on(), {"size": (448, 832)}),
]


@pytest.mark.parametrize(
    ("asked", "facts", "wanted"), [row[1:] for row in MADE], ids=[row[0] for row in MADE]
)
def test_what_is_made(asked: Values, facts: InputFacts, wanted: Values) -> None:
    made = plan(asked, facts)
    found = {
        "size": (made.width, made.height),
        "fps": made.settings.fps,
        "frames": made.total_frames,
        "keeps": [window.keep for window in made.windows],
        "skips": [window.skip for window in made.windows],
        "starts": [window.start for window in made.windows],
    }
    assert {name: found[name] for name in wanted} == wanted
    assert sum(window.keep for window in made.windows) == made.total_frames
    assert made.effective()["frames_before"] == 77 and made.old is facts.old


def test_windows_that_go_on_are_those_of_a_longer_video_less_its_first() -> None:
    for window, motion in ((9, 5), (81, 9), (81, 25)):
        for new in range(1, 4 * window):
            whole = plan_windows(window + new, window, motion)[1:]
            part = plan_windows(new, window, motion, motion)
            assert [(w.skip, w.keep, w.is_tail) for w in part] == [(w.skip, w.keep, w.is_tail) for w in whole]
            assert [w.start for w in part] == [w.start - whole[0].start for w in whole]


REFUSED: list[tuple[Values, InputFacts, str]] = [
    (
        {**AGAIN, "video": "a.mp4"},
        going_on(),
        "talk takes extends or video, not both. Leave one of them out.",
    ),
    ({**MOVED_AGAIN, "video": "a.mp4"}, going_on(), "image_to_video takes extends or video, not both"),
    ({**MOVED_AGAIN, "image": "a.png"}, going_on(STILL), "image_to_video takes extends or image, not both"),
    (
        {**AGAIN, "width": 832, "height": 448},
        going_on(),
        r"width must be that of the video to go on from, got 832; allowed: 448\. Leave width out",
    ),
    ({**AGAIN, "width": 448, "height": 480}, going_on(), "height must be that of the video to go on from"),
    ({**MOVED_AGAIN, "fps": 24}, going_on(fps=16), "fps must be that of .* got 24.0; allowed: 16"),
    (SPOKEN_AGAIN, replace(HEARD, old=old(fps=16)), "speech can't go on from a video of this rate, got '16'"),
    (AGAIN, going_on(frames=8), "old.mp4 is too short to go on from, it has 8 frames; allowed: 9 or more"),
    ({**MOVED_AGAIN, "num_frames": 1}, going_on(), "the new part has no frames of its own, got 0"),
    (AGAIN, going_on(seconds=10_799.0), r"old.mp4 and its new part last too long, got '\d+ s'; allowed: 3 h"),
    ({**AGAIN, "speaker_boxes": [[0, 0, 9, 9], [9, 0, 449, 9]]}, going_on(), "a speaker box lies outside"),
]


@pytest.mark.parametrize(("asked", "facts", "told"), REFUSED)
def test_what_cannot_go_on_is_refused(asked: Values, facts: InputFacts, told: str) -> None:
    with pytest.raises(UserError, match=told):
        plan(asked, facts)


NOTED: list[tuple[Values, InputFacts, str]] = [
    (AGAIN, going_on(), "no speech given: the mouth stays still and the new part is silent"),
    (
        AGAIN,
        going_on(ours=False),
        "old.mp4 is coded in another way than new videos: its pictures are encoded",
    ),
    (
        {**MOVED_AGAIN, "num_frames": 81},
        going_on(),
        "frame 1 of num_frames 81 is the last one of old.mp4: 80 are new",
    ),
    (
        {**PAIR, **AGAIN, "image": None},
        replace(DUET, picture=None, old=old()),
        "which speaker old.mp4 ends with is not known: the first window begins in silence",
    ),
]


@pytest.mark.parametrize(("asked", "facts", "told"), NOTED)
def test_what_is_said(asked: Values, facts: InputFacts, told: str) -> None:
    assert any(note.startswith(told) for note in plan(asked, facts).notes)


def test_nothing_is_said_where_all_is_as_asked() -> None:
    notes = plan({**SPOKEN_AGAIN, "num_frames": 49, "motion_frames": 9}, HEARD).notes
    assert [note for note in notes if "step-distilled" not in note] == []


def test_the_plan_tells_where_it_goes_on() -> None:
    lines = dict(describe_plan(plan({**SPOKEN_AGAIN, "seconds": 3.1}, HEARD)))
    assert lines["goes on from"] == "old.mp4 (3.1 s); in all 6.2 s"
    assert "goes on from" not in dict(describe_plan(plan(SPEECH, SPOKEN)))


def test_a_task_without_it_does_not_look(tmp_path: Path) -> None:
    request = read_request({**TEXT, "extends": str(tmp_path / "gone.mp4"), "seed": 1})
    assert inspect_inputs(request).old is None
    assert "extends has no effect in text_to_video" in plan({**TEXT, "extends": "old.mp4"}).notes


def test_the_room_of_the_old_video_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    from wanvideo import prepare as rooms

    asked: list[float] = []
    monkeypatch.setattr(rooms, "words_for_bytes", lambda size: asked.append(size) or "bytes")
    monkeypatch.setattr(rooms.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 0}))
    for facts in (going_on(frames=77), going_on(frames=7700)):
        with pytest.raises(UserError, match="disk"):
            rooms._check_room([plan(AGAIN, facts)])
    assert asked[3] > 10 * asked[1]


def test_other_defaults_stay_those_of_the_model() -> None:
    made = plan(SPOKEN_AGAIN, HEARD, POCKET)
    assert (made.settings.motion_frames, made.windows[0].frames, made.width) == (5, 33, 448)
    assert made.device == CPU.device and made.models.name == REAL.name


def test_a_missing_old_video_is_named_before_the_run(tmp_path: Path) -> None:
    request = read_request({**TALK, "image": None, "extends": str(tmp_path / "gone.mp4"), "seed": 1})
    with pytest.raises(UserError, match="video 'gone.mp4' cannot be used: there is no such file"):
        prepare(request, read_options({"output_dir": str(tmp_path)}))


def test_boxes_are_of_the_picture_when_there_is_one() -> None:
    boxes = [[0, 0, 250, 500], [260, 0, 500, 500]]
    facts = replace(DUET, picture=picture(), old=old())
    assert plan({**PAIR, **AGAIN, "speaker_boxes": boxes}, facts).speakers == 2
