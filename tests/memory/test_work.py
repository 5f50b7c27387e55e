"""What a request comes to in numbers."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from tests.memory.cases import models
from tests.plan_cases import FILM, FILMED, IMAGE, PAIR, SPEECH, STILL, TEXT, Values, plan, sound
from wanvideo import compile_choice
from wanvideo.inputs import InputFacts
from wanvideo.memory.sizes import model_sizes
from wanvideo.memory.work import Job, Work, shorter_lengths
from wanvideo.registry import quantization_modes

LONG = InputFacts(picture=STILL.picture, sounds=(sound(6.0),))
LONG_PAIR = InputFacts(picture=STILL.picture, sounds=(sound(6.0), sound(6.0)))
FILMED_LONG = replace(FILMED, sounds=(sound(6.0),))


def work_of(asked: Values, facts: InputFacts, monkeypatch: pytest.MonkeyPatch) -> Work:
    """As the planner sees it."""
    seen: list[Job] = []
    decide = compile_choice.decide_memory

    def watch(job: Job, *rest: Any) -> Any:
        seen.append(job)
        return decide(job, *rest)

    monkeypatch.setattr(compile_choice, "decide_memory", watch)
    plan(asked, facts, models(asked["task"]))
    return seen[0].work


@pytest.mark.parametrize(
    ("asked", "facts", "expected"),
    [
        (TEXT, STILL, {"picture_frames": 0, "first_frames": 0, "later_frames": 0, "speech_seconds": 0}),
        (IMAGE, STILL, {"picture_frames": 81, "first_frames": 0, "windows": 1, "has_picture": True}),
        (SPEECH, LONG, {"picture_frames": 81, "first_frames": 1, "later_frames": 9, "windows": 2}),
        (PAIR, LONG_PAIR, {"speakers": 2, "windows": 2, "prompts": 2}),
        (
            {**FILM, "audio": ["a.wav"]},
            FILMED_LONG,
            {"picture_frames": 0, "first_frames": 82, "later_frames": 90, "follows_video": True},
        ),
        ({**TEXT, "cfg": [5, 1], "steps": 4}, STILL, {"passes": (2, 1, 1, 1), "prompts": 2}),
        ({**TEXT, "cfg": 1, "steps": 2}, STILL, {"passes": (1, 1), "prompts": 1}),
        ({**SPEECH, "cfg": 5, "audio_cfg": 4, "steps": 2}, LONG, {"passes": (3, 3)}),
        ({**SPEECH, "prompt": "a | b", "cfg": 1, "audio_cfg": 1}, LONG, {"prompts": 2}),
    ],
)
def test_work_of_a_request(
    asked: Values, facts: InputFacts, expected: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = work_of(asked, facts, monkeypatch)
    assert {name: getattr(found, name) for name in expected} == expected


def test_speech_of_all_speakers_is_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (
        work_of(asked, facts, monkeypatch).speech_seconds
        for asked, facts in ((SPEECH, LONG), (PAIR, LONG_PAIR))
    )
    assert two == 2 * one > 12


def test_lengths_below_are_legal() -> None:
    assert list(shorter_lengths(81))[:2] == [77, 73]
    assert list(shorter_lengths(80))[:1] == [77]
    assert all((frames - 1) % 4 == 0 for frames in shorter_lengths(121))


def test_loras_take_the_size_of_their_files() -> None:
    row = next(iter(quantization_modes().values()))
    plain = models("text_to_video")
    use: Any = SimpleNamespace(facts=SimpleNamespace(stamp=(0, 40_000_000)))
    worn = model_sizes(replace(plain, loras=(use,)), row, False, "bf16")
    assert worn.transformer - model_sizes(plain, row, False, "bf16").transformer == 40_000_000
