"""What the planner refuses."""

from dataclasses import replace

import pytest

from tests.plan_cases import (
    DUET,
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
    (
        {**TEXT, "steps": 10, "video": "a.mp4", "denoise_strength": 0},
        FILMED,
        "denoise_strength leaves no step to make, got 0.0; allowed: above 0.05, with 10 steps",
    ),
    (
        {**TEXT, "steps": 10, "video": "a.mp4", "denoise_strength": 0.5, "end_step": 4},
        FILMED,
        "start_step to end_step is not a slice of the schedule, got [5, 4]; allowed: 0 to 10. "
        "denoise_strength begins at step 5.",
    ),
    (
        {**IMAGE, "end_image": "b.png", "num_frames": 1},
        replace(STILL, end_picture=picture()),
        "end_image needs a longer video, got 1; allowed: 5 frames or more",
    ),
    (
        {**IMAGE, "end_image": "b.png", "seconds": 0.04},
        replace(STILL, end_picture=picture()),
        "end_image needs a longer video",
    ),
]


@pytest.mark.parametrize(("asked", "facts", "text"), REFUSED)
def test_what_cannot_be_done_is_refused(asked: Values, facts: InputFacts, text: str) -> None:
    with pytest.raises(UserError) as caught:
        plan(asked, facts)
    assert str(caught.value).startswith(text)
