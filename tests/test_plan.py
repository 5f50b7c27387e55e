"""The planner: from requests, facts, models and machines that are plain data to decisions."""

from dataclasses import fields, replace
from typing import Any

import pytest

from tests.plan_cases import (
    DUET,
    FILM,
    FILMED,
    IMAGE,
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
from wanvideo.checkpoint.catalog import ModelSet
from wanvideo.defaults import NEGATIVE_CHINESE, NEGATIVE_ENGLISH
from wanvideo.geometry import check_frames, check_size
from wanvideo.inputs import InputFacts
from wanvideo.plan import GenerationPlan
from wanvideo.request import GenerationRequest
from wanvideo.sampling.samplers import SAMPLERS


def decisions(made: GenerationPlan) -> Values:
    """Everything decided, under one flat set of names."""
    settings = {item.name: getattr(made.settings, item.name) for item in fields(made.settings)}
    lists = {
        "keeps": [w.keep for w in made.windows],
        "speakers": made.speakers,
        "passes": made.passes_per_step,
    }
    own = {item.name: getattr(made, item.name) for item in fields(made)}
    return {**own, **settings, **lists, "uses_speech": made.uses_speech, "task": made.task}


DECIDED: list[tuple[str, Values, InputFacts, ModelSet, Values]] = [
    (
        "published defaults of talk",
        SPEECH,
        SPOKEN,
        REAL,
        {
            "sampler": "multitalk",
            "num_inference_steps": 40,
            "steps": range(40),
            "guidance_scale": (5.0,) * 40,
            "audio_guidance_scale": 4.0,
            "flow_shift": 7.0,
            "fps": 25.0,
            "width": 640,
            "height": 640,
            "total_frames": 100,
            "keeps": [81, 19],
            "speakers": 1,
            "passes": 3,
            "uses_speech": True,
            "negative_prompt": NEGATIVE_ENGLISH,
        },
    ),
    (
        "published defaults of image to video",
        IMAGE,
        InputFacts(picture=picture(1664, 960)),
        REAL,
        {
            "sampler": "unipc",
            "num_inference_steps": 40,
            "flow_shift": 3.0,
            "fps": 16.0,
            "total_frames": 81,
            "keeps": [81],
            "width": 832,
            "height": 480,
            "passes": 2,
            "uses_speech": False,
            "negative_prompt": NEGATIVE_CHINESE,
        },
    ),
    (
        "published defaults of text to video",
        TEXT,
        NOTHING,
        REAL,
        {"num_inference_steps": 50, "flow_shift": 5.0, "total_frames": 81, "width": 832, "height": 480},
    ),
    ("720 tier of talk", {**SPEECH, "width": 960, "height": 960}, SPOKEN, REAL, {"flow_shift": 11.0}),
    ("720 tier of image", {**IMAGE, "width": 1280, "height": 720}, STILL, REAL, {"flow_shift": 5.0}),
    (
        "a set shift wins",
        {**SPEECH, "shift": 2, "width": 960, "height": 960},
        SPOKEN,
        REAL,
        {"flow_shift": 2.0},
    ),
    (
        "the model's profile goes before the task",
        SPEECH,
        SPOKEN,
        POCKET,
        {
            "num_inference_steps": 8,
            "sampler": "euler",
            "guidance_scale": (5.0,) * 8,
            "width": 128,
            "height": 128,
            "keeps": [33, 28, 28, 11],
            "motion_frames": 5,
        },
    ),
    (
        "the request goes before the profile",
        {**SPEECH, "steps": 3},
        SPOKEN,
        POCKET,
        {"num_inference_steps": 3},
    ),
    (
        "a list in the profile",
        {**TEXT, "steps": 4},
        NOTHING,
        POCKET,
        {"guidance_scale": (6.0, 1.0, 1.0, 1.0), "flow_shift": 8.0, "total_frames": 17, "width": 128},
    ),
    (
        "portrait picture",
        SPEECH,
        replace(SPOKEN, picture=picture(500, 900)),
        REAL,
        {"width": 448, "height": 832},
    ),
    ("size of a source video", FILM, FILMED, REAL, {"width": 896, "height": 448}),
    (
        "profile keeps the aspect",
        IMAGE,
        InputFacts(picture=picture(400, 100)),
        POCKET,
        {"width": 256, "height": 64},
    ),
    (
        "silence fills one window",
        TALK,
        STILL,
        REAL,
        {"total_frames": 81, "keeps": [81], "uses_speech": False},
    ),
    ("silence with seconds", {**TALK, "seconds": 1}, STILL, REAL, {"total_frames": 25, "keeps": [25]}),
    (
        "silence at another rate",
        {**TALK, "fps": 10, "seconds": 2},
        STILL,
        REAL,
        {"fps": 10, "total_frames": 20},
    ),
    ("silence of one frame", {**TALK, "fps": 1, "seconds": 0.04}, STILL, REAL, {"total_frames": 1}),
    ("seconds cut the speech", {**SPEECH, "seconds": 2.5}, SPOKEN, REAL, {"total_frames": 62, "keeps": [62]}),
    ("frames cut the speech", {**SPEECH, "num_frames": 33}, SPOKEN, REAL, {"total_frames": 33}),
    ("speech of a moment", SPEECH, replace(SPOKEN, sounds=(sound(0.01),)), REAL, {"total_frames": 1}),
    ("two together", PAIR, DUET, REAL, {"speakers": 2, "total_frames": 50}),
    ("two in turn", {**PAIR, "audio_order": "sequence"}, DUET, REAL, {"speakers": 2, "total_frames": 75}),
    ("seconds of text to video", {**TEXT, "seconds": 5}, NOTHING, REAL, {"total_frames": 81}),
    (
        "seconds at another rate",
        {**TEXT, "seconds": 2, "fps": 24},
        NOTHING,
        REAL,
        {"total_frames": 49, "fps": 24},
    ),
    ("sampler by alias", {**TEXT, "scheduler": "dpmpp_2m"}, NOTHING, REAL, {"sampler": "dpm++"}),
    (
        "guidance list goes on with its last value",
        {**TEXT, "cfg": [6, 3], "steps": 4},
        NOTHING,
        REAL,
        {"guidance_scale": (6.0, 3.0, 3.0, 3.0)},
    ),
    (
        "guidance list is cut",
        {**TEXT, "cfg": [6, 3, 1], "steps": 2},
        NOTHING,
        REAL,
        {"guidance_scale": (6.0, 3.0)},
    ),
    (
        "slice of the schedule",
        {**TEXT, "steps": 10, "start_step": 2, "end_step": 7},
        NOTHING,
        REAL,
        {"steps": range(2, 7)},
    ),
    (
        "half way from a video",
        {**TEXT, "steps": 10, "video": "a.mp4", "denoise_strength": 0.4},
        FILMED,
        REAL,
        {"steps": range(6, 10)},
    ),
    (
        "strength needs a video",
        {**TEXT, "steps": 10, "denoise_strength": 0.4},
        NOTHING,
        REAL,
        {"steps": range(10)},
    ),
    ("talk denoises whole", {**FILM, "denoise_strength": 0.5}, FILMED, REAL, {"steps": range(40)}),
    (
        "empty negative prompt stays empty",
        {**TEXT, "negative_prompt": ""},
        NOTHING,
        REAL,
        {"negative_prompt": ""},
    ),
    ("a prompt per window", {**SPEECH, "prompt": "a | b"}, SPOKEN, REAL, {"prompts": ("a", "b")}),
    (
        "the last prompt goes on",
        {**SPEECH, "prompt": "a | b"},
        SPOKEN,
        POCKET,
        {"prompts": ("a", "b", "b", "b")},
    ),
    ("more prompts than windows", {**TEXT, "prompt": "a|b|c"}, NOTHING, REAL, {"prompts": ("a",)}),
    ("no prompt", SPEECH, SPOKEN, REAL, {"prompts": ("", "")}),
]


@pytest.mark.parametrize(
    ("asked", "facts", "models", "expected"), [case[1:] for case in DECIDED], ids=[c[0] for c in DECIDED]
)
def test_decisions(asked: Values, facts: InputFacts, models: ModelSet, expected: Values) -> None:
    made = decisions(plan(asked, facts, models))
    assert {name: made[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("text", "audio", "passes"), [(5, 4, 3), (5, 1, 2), (1, 4, 2), (1, 1, 1), ([1, 5], 1, 1)]
)
def test_passes_of_talk(text: Any, audio: float, passes: int) -> None:
    """At audio guidance 1 the reference's third pass cancels out, so it is not made."""
    made = plan({**SPEECH, "guidance_scale": text, "audio_guidance_scale": audio}, SPOKEN)
    assert made.passes_per_step == passes


@pytest.mark.parametrize(("guidance", "passes"), [(5, 2), (1, 1)])
def test_passes_of_the_other_tasks(guidance: float, passes: int) -> None:
    assert plan({**TEXT, "guidance_scale": guidance}).passes_per_step == passes
    assert plan({**IMAGE, "guidance_scale": guidance}, STILL).passes_per_step == passes


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_can_be_planned(name: str) -> None:
    assert plan({**TEXT, "sampler": name, "steps": 4}).settings.sampler == name


@pytest.mark.parametrize("models", [REAL, POCKET], ids=["published", "pocket"])
def test_no_picture_leads_to_an_illegal_size(models: ModelSet) -> None:
    for task in ("talk", "image_to_video"):
        for width, height in [(16, 256), (64, 64), (333, 1000), (1920, 1080), (4000, 500), (999, 1001)]:
            made = plan({"task": task, "image": "a.png"}, InputFacts(picture=picture(width, height)), models)
            check_size("width", made.width)
            check_size("height", made.height)
            check_frames("window", made.windows[0].frames)
            assert sum(window.keep for window in made.windows) == made.total_frames


def test_effective_guidance_is_a_number_where_it_is_one() -> None:
    assert plan({**TEXT, "steps": 2}).effective()["guidance_scale"] == 5.0
    assert list(plan({**TEXT, "steps": 2, "cfg": [6, 1]}).effective()["guidance_scale"]) == [6.0, 1.0]


def test_request_is_kept_as_asked() -> None:
    made = plan({**SPEECH, "steps": 3}, SPOKEN)
    assert made.request == GenerationRequest(image="a.png", audio=("a.wav",), num_inference_steps=3, seed=7)
