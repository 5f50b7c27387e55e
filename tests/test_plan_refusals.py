"""What the planner refuses, and the notes about fields that can have no effect."""

from dataclasses import replace

import pytest

from tests.plan_cases import (
    DUET,
    FILM,
    FILMED,
    IMAGE,
    NOTHING,
    PAIR,
    SPEECH,
    SPOKEN,
    STILL,
    TALK,
    TEXT,
    Values,
    picture,
    plan,
    video,
)
from wanvideo.errors import UserError
from wanvideo.inputs import InputFacts

REFUSED: list[tuple[Values, InputFacts, str]] = [
    (TALK | {"image": None}, NOTHING, "talk needs image or video. Give --image FILE or --video FILE."),
    (IMAGE | {"image": None}, NOTHING, "image_to_video needs image. Give --image FILE."),
    (TALK | {"video": "a.mp4"}, replace(STILL, video=video()), "talk takes image or video, not both"),
    (
        {**TEXT, "width": 17},
        NOTHING,
        "width must be a multiple of 16, got 17; allowed: 16 or 32 are the nearest",
    ),
    (
        {**TEXT, "width": 32, "height": 50},
        NOTHING,
        "height must be a multiple of 16, got 50; allowed: 48 or 64",
    ),
    ({**TEXT, "width": 32}, NOTHING, "width and height go together"),
    (
        {**TEXT, "num_frames": 80},
        NOTHING,
        "num_frames must be 4n+1, got 80; allowed: 77 or 81 are the nearest",
    ),
    (
        {**SPEECH, "num_frames": 80},
        SPOKEN,
        "num_frames must be 4n+1, got 80; allowed: 77 or 81 are the nearest",
    ),
    ({**TEXT, "num_frames": 81, "seconds": 5}, NOTHING, "give num_frames or seconds, not both"),
    ({**SPEECH, "window_frames": 80}, SPOKEN, "window_frames must be 4n+1"),
    ({**SPEECH, "motion_frames": 8}, SPOKEN, "motion_frames must be 4n+1"),
    ({**SPEECH, "window_frames": 9}, SPOKEN, "motion_frames must be fewer than window_frames, got 9"),
    ({**SPEECH, "fps": 30}, SPOKEN, "fps must be 25 with speech, got 30.0"),
    ({**TEXT, "sampler": "unipcc"}, NOTHING, "unknown sampler, got 'unipcc'; allowed: unipc"),
    ({**TEXT, "sampler": "sa_ode_stable"}, NOTHING, "unknown sampler, got 'sa_ode_stable'"),
    ({**TEXT, "sampler": "flowmatch_distill"}, NOTHING, "sampler flowmatch_distill cannot run this number"),
    ({**TEXT, "steps": 4, "start_step": 4}, NOTHING, "start_step to end_step is not a slice of the schedule"),
    ({**TEXT, "steps": 4, "end_step": 5}, NOTHING, "start_step to end_step is not a slice of the schedule"),
    ({**PAIR, "speaker_boxes": [[0, 0, 9, 9]]}, DUET, "speaker_boxes needs one box per speaker, got 1"),
    (
        {**PAIR, "speaker_boxes": [[0, 0, 9, 9], [0, 0, 513, 9]]},
        DUET,
        "a speaker box lies outside the picture, got [0.0, 0.0, 513.0, 9.0]; allowed: 0, 0 to 512, 512",
    ),
]


@pytest.mark.parametrize(("asked", "facts", "text"), REFUSED)
def test_what_cannot_be_done_is_refused(asked: Values, facts: InputFacts, text: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(asked, facts)
    assert str(caught.value).startswith(text)


NOTED: list[tuple[Values, InputFacts, list[str]]] = [
    (SPEECH, SPOKEN, []),
    ({**TEXT, "negative_prompt": "dull", "cfg": 1}, NOTHING, ["negative_prompt has no effect at guidance 1"]),
    ({**TEXT, "negative_prompt": "dull", "cfg": [1, 5]}, NOTHING, []),
    ({**TEXT, "denoise_strength": 0.5}, NOTHING, ["denoise_strength has no effect without a source video"]),
    ({**TEXT, "video": "a.mp4"}, FILMED, ["video has no effect at denoise_strength 1"]),
    ({**TEXT, "image": "a.png"}, STILL, ["image has no effect in text_to_video"]),
    ({**IMAGE, "audio": ["a.wav"]}, SPOKEN, ["audio has no effect in image_to_video"]),
    (
        {**IMAGE, "window_frames": 33, "apg": True},
        STILL,
        ["apg has no effect in image_to_video", "window_frames has no effect in image_to_video"],
    ),
    (
        {**SPEECH, "end_image": "b.png"},
        replace(SPOKEN, end_picture=picture()),
        ["end_image has no effect in talk"],
    ),
    ({**FILM, "denoise_strength": 0.5}, FILMED, ["denoise_strength has no effect in talk"]),
    (
        {**SPEECH, "speaker_boxes": [[0, 0, 9, 9], [10, 0, 20, 9]], "audio_order": "sequence"},
        SPOKEN,
        ["speaker_boxes has no effect with one speaker", "audio_order has no effect with one speaker"],
    ),
]


@pytest.mark.parametrize(("asked", "facts", "notes"), NOTED)
def test_a_field_without_effect_is_noted(asked: Values, facts: InputFacts, notes: list[str]) -> None:
    assert list(plan(asked, facts).notes) == notes
