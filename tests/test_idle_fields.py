"""The notes about fields that were set but can have no effect."""

from dataclasses import replace

import pytest

from tests.plan_cases import (
    DUET,
    FILM,
    FILMED,
    IMAGE,
    NOTHING,
    PAIR,
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
from wanvideo.inputs import InputFacts

BOXES = [[0, 0, 250, 500], [260, 0, 500, 500]]
SILENT = "no speech given: the mouth stays still and the video is silent"
START: Values = {**TEXT, "video": "a.mp4"}
BRIEF = replace(SPOKEN, sounds=(sound(1.0),))

NOTED: list[tuple[Values, InputFacts, list[str]]] = [
    (SPEECH, SPOKEN, []),
    (IMAGE, STILL, []),
    (TEXT, NOTHING, []),
    ({**TEXT, "negative_prompt": "dull", "cfg": 1}, NOTHING, ["negative_prompt has no effect at guidance 1"]),
    ({**TEXT, "negative_prompt": "dull", "cfg": [1, 5]}, NOTHING, []),
    ({**TEXT, "denoise_strength": 0.5}, NOTHING, ["denoise_strength has no effect without a source video"]),
    ({**TEXT, "denoise_strength": 0}, NOTHING, ["denoise_strength has no effect without a source video"]),
    (START, FILMED, ["video has no effect at denoise_strength 1"]),
    ({**START, "start_step": 1}, FILMED, []),
    (
        {**START, "denoise_strength": 0.9, "steps": 2},
        FILMED,
        ["video has no effect at denoise_strength 0.9: of 2 steps that is all"],
    ),
    ({**START, "denoise_strength": 0.5, "steps": 2}, FILMED, []),
    ({**TEXT, "image": "a.png"}, STILL, ["image has no effect in text_to_video"]),
    ({**IMAGE, "audio": ["a.wav"]}, SPOKEN, ["audio has no effect in image_to_video"]),
    ({**IMAGE, "speaker_boxes": BOXES[:1]}, STILL, ["speaker_boxes has no effect in image_to_video"]),
    (
        {**IMAGE, "window_frames": 33, "apg": True, "motion_frames": 5},
        STILL,
        [f"{name} has no effect in image_to_video" for name in ("apg", "window_frames", "motion_frames")],
    ),
    (
        {**SPEECH, "end_image": "b.png"},
        replace(SPOKEN, end_picture=picture()),
        ["end_image has no effect in talk"],
    ),
    ({**FILM, "denoise_strength": 0.5}, FILMED, ["denoise_strength has no effect in talk", SILENT]),
    (TALK, STILL, [SILENT]),
    (
        {**SPEECH, "speaker_boxes": BOXES, "audio_order": "sequence"},
        SPOKEN,
        ["speaker_boxes has no effect with one speaker", "audio_order has no effect with one speaker"],
    ),
    ({**PAIR, "speaker_boxes": BOXES, "audio_order": "sequence"}, DUET, []),
    (
        {**SPEECH, "apg": True, "cfg": 1, "audio_cfg": 1},
        SPOKEN,
        ["apg has no effect at guidance 1 and audio guidance 1"],
    ),
    ({**SPEECH, "apg": True, "cfg": 1}, SPOKEN, []),
    ({**SPEECH, "apg": True, "audio_cfg": 1}, SPOKEN, []),
    (
        {**TEXT, "sampler": "flowmatch_causvid", "steps": 4, "shift": 5},
        NOTHING,
        ["flow_shift has no effect on the 4 steps of flowmatch_causvid"],
    ),
    ({**TEXT, "sampler": "flowmatch_causvid", "steps": 4}, NOTHING, []),
    ({**TEXT, "sampler": "euler", "steps": 4, "shift": 5}, NOTHING, []),
    (
        {**TEXT, "prompt": "a | b"},
        NOTHING,
        ["no effect: prompt 2; | parts the prompts of windows, here 1"],
    ),
    (
        {**SPEECH, "prompt": "a|b|c|d"},
        SPOKEN,
        ["no effect: prompt 3 and later; | parts the prompts of windows, here 2"],
    ),
    ({**SPEECH, "prompt": "a|b"}, SPOKEN, []),
    ({**TEXT, "prompt": "a | "}, NOTHING, []),
    ({**SPEECH, "motion_frames": 5}, SPOKEN, []),
    ({**SPEECH, "motion_frames": 5}, BRIEF, ["motion_frames has no effect in a single window"]),
    (
        {**TEXT, "riflex_freq_index": 6},
        NOTHING,
        ["riflex_freq_index has no effect on 81 frames or fewer at a time"],
    ),
    ({**TEXT, "riflex_freq_index": 6, "num_frames": 85}, NOTHING, []),
    (
        {**SPEECH, "riflex_freq_index": 6},
        SPOKEN,
        ["riflex_freq_index has no effect on 81 frames or fewer at a time"],
    ),
    ({**SPEECH, "riflex_freq_index": 6, "window_frames": 85}, SPOKEN, []),
]


@pytest.mark.parametrize(("asked", "facts", "notes"), NOTED)
def test_a_field_without_effect_is_noted(asked: Values, facts: InputFacts, notes: list[str]) -> None:
    """A warning that few steps smear is no note of a field."""
    assert [note for note in plan(asked, facts).notes if "step-distilled" not in note] == notes


def test_models_that_were_passed_over_are_noted() -> None:
    models = replace(REAL, passed_over=("wan_14b lacks its vae file.", "wan_13b is damaged"))
    assert plan(TEXT, models=models).notes == ("wan_14b lacks its vae file", "wan_13b is damaged")
