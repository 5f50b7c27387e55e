"""What the planner makes of a source picture or video: size, first step, the region of each speaker."""

from dataclasses import replace

import pytest
import torch

from tests.plan_cases import (
    DUET,
    FILMED,
    IMAGE,
    NOTHING,
    PAIR,
    REAL,
    SPEECH,
    SPOKEN,
    STILL,
    TEXT,
    Values,
    picture,
    plan,
    video,
)
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.errors import UserError
from wanvideo.geometry import speaker_halves, token_pixels
from wanvideo.inputs import InputFacts
from wanvideo.window_tensors import latent_masks, speaker_masks, token_masks

START: Values = {**TEXT, "video": "a.mp4", "steps": 10}
TALL = InputFacts(video=video(480, 832))
LARGE = replace(REAL, profile=replace(REAL.profile, tier=720))


@pytest.mark.parametrize(
    ("asked", "facts", "is_started", "first"),
    [
        (START, FILMED, False, 0),
        ({**START, "start_step": 1}, FILMED, True, 1),
        ({**START, "denoise_strength": 0.4}, FILMED, True, 6),
        ({**START, "denoise_strength": 0.4, "start_step": 8}, FILMED, True, 8),
        ({**TEXT, "start_step": 1}, NOTHING, False, 1),
        ({"task": "talk", "video": "a.mp4", "start_step": 1}, FILMED, False, 1),
    ],
)
def test_where_a_source_video_starts(asked: Values, facts: InputFacts, is_started: bool, first: int) -> None:
    made = plan(asked, facts)
    assert (made.starts_from_video, made.settings.steps.start) == (is_started, first)


@pytest.mark.parametrize(
    ("asked", "facts", "models", "size"),
    [
        ({**TEXT, "image": "a.png"}, InputFacts(picture=picture(480, 832)), REAL, (832, 480)),
        (START, TALL, REAL, (832, 480)),
        ({**START, "denoise_strength": 0.5}, TALL, REAL, (480, 832)),
        ({**START, "start_step": 1}, TALL, REAL, (480, 832)),
        (IMAGE, replace(TALL, picture=picture(1664, 960)), REAL, (832, 480)),
        (TEXT, NOTHING, LARGE, (1280, 720)),
        (IMAGE, InputFacts(picture=picture(1280, 720)), LARGE, (1280, 720)),
        (SPEECH, SPOKEN, LARGE, (960, 960)),
        ({**SPEECH, "width": 640, "height": 640}, SPOKEN, LARGE, (640, 640)),
    ],
)
def test_size_follows_what_the_video_shows(
    asked: Values, facts: InputFacts, models: ModelSet, size: tuple[int, int]
) -> None:
    made = plan(asked, facts, models)
    assert (made.width, made.height) == size


@pytest.mark.parametrize(
    ("asked", "facts", "shift"), [(SPEECH, SPOKEN, 11.0), (IMAGE, STILL, 5.0), (TEXT, NOTHING, 5.0)]
)
def test_shift_of_a_720_model(asked: Values, facts: InputFacts, shift: float) -> None:
    assert plan(asked, facts, LARGE).settings.flow_shift == shift


@pytest.mark.parametrize(
    ("asked", "facts", "index"),
    [
        ({**TEXT, "num_frames": 81}, NOTHING, 0),
        ({**TEXT, "num_frames": 85}, NOTHING, 6),
        ({**SPEECH, "window_frames": 81}, SPOKEN, 0),
        ({**SPEECH, "window_frames": 85}, SPOKEN, 6),
    ],
)
def test_riflex_is_for_long_windows(asked: Values, facts: InputFacts, index: int) -> None:
    assert plan({**asked, "riflex_freq_index": 6}, facts).settings.riflex_freq_index == index


WIDE = replace(DUET, picture=picture(1000, 500))
UPRIGHT: Values = {**PAIR, "width": 128, "height": 256}  # shows x 375 to 625 of WIDE
LEFT, RIGHT = [400, 100, 490, 400], [510, 100, 600, 400]
OUTSIDE = r"a speaker box lies outside what the video shows .* got \[{}\]; allowed: 375, 0 to 625, 500\."


@pytest.mark.parametrize(
    ("boxes", "lost"),
    [
        ([LEFT, RIGHT], None),
        ([[0, 100, 370, 400], RIGHT], "0, 100, 370, 400"),
        ([LEFT, [640, 100, 1000, 400]], "640, 100, 1000, 400"),
        ([LEFT, [510, 100, 512, 102]], "510, 100, 512, 102"),  # too small for a token to look at
    ],
)
def test_a_speaker_outside_the_crop_is_refused(boxes: list[list[int]], lost: str | None) -> None:
    asked = {**UPRIGHT, "speaker_boxes": boxes}
    if lost is None:
        assert plan(asked, WIDE).speakers == 2
        return
    with pytest.raises(UserError, match=OUTSIDE.format(lost)):
        plan(asked, WIDE)


@pytest.mark.parametrize(
    ("asked", "doubts"),
    [
        ({"speaker_boxes": [LEFT, RIGHT]}, []),
        ({"speaker_boxes": [LEFT, [480, 100, 600, 400]]}, ["overlap"]),
        ({"speaker_boxes": [[300, 100, 490, 400], RIGHT]}, ["speaker 1's box is outside"]),
        ({"speaker_boxes": [LEFT, [510, 100, 535, 130]]}, ["speaker 2's box covers 1 of"]),
        ({}, []),
        ({"speaker_boxes": [LEFT, LEFT], "audio": ["a.wav"]}, ["no effect with one speaker"]),
    ],
)
def test_doubtful_boxes_are_noted(asked: Values, doubts: list[str]) -> None:
    facts = replace(WIDE, sounds=WIDE.sounds[: len(asked.get("audio", DUET.sounds))])
    notes = plan({**UPRIGHT, **asked}, facts).notes
    found = [note for note in notes if "speaker" in note]
    assert len(found) == len(doubts) and all(map(str.__contains__, found, doubts)), found


def test_halves_outside_the_crop_are_refused() -> None:
    assert plan(PAIR, WIDE).speakers == 2
    with pytest.raises(
        UserError, match="half of the picture, with a speaker, lies outside .* allowed: 492, 0 to 507, 500"
    ):
        plan({**PAIR, "width": 16, "height": 512}, WIDE)


SIZES = [((512, 512), (640, 640)), ((500, 1000), (256, 128)), ((333, 217), (96, 64)), ((90, 60), (208, 48))]


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_tokens_look_where_the_engine_looks(source: tuple[int, int], target: tuple[int, int]) -> None:
    """Against the masks that the transformer is given, for every column and row alone."""
    rows, columns = token_pixels(source, target)
    assert (len(rows), len(columns)) == (target[0] // 16, target[1] // 16)
    for axis, seen in enumerate((rows, columns)):
        lines = torch.arange(source[axis]).view((-1, 1) if axis == 0 else (1, -1)).expand(source)
        for pixel in range(source[axis]):
            mask = (lines == pixel).float().expand(3, *source)
            tokens = token_masks(latent_masks(mask, *target)).view(3, len(rows), len(columns))
            assert bool(tokens.any()) == (pixel in seen), (axis, pixel)


@pytest.mark.parametrize("size", [(512, 512), (301, 777)])
def test_halves_are_those_of_the_engine(size: tuple[int, int]) -> None:
    assert torch.equal(speaker_masks((), *size), speaker_masks(speaker_halves(*size), *size))
