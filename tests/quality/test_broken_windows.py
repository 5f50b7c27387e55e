"""An attention that makes NaN and a VAE that makes black: the window is made again with exact attention, and
what stays broken is no video.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.test_pipeline import home, plan_of  # noqa: F401  # home is a fixture
from wanvideo.attention.sdpa import attend
from wanvideo.errors import UserError
from wanvideo.finished_file import job_folder
from wanvideo.media.frames import read_frames
from wanvideo.model_cache import ModelCache
from wanvideo.pipeline import GenerationResult, generate
from wanvideo.plan import GenerationPlan
from wanvideo.quality.again import tried_again, with_exact_attention
from wanvideo.quality.guard import DECODED, NAN, BrokenOutput
from wanvideo.registry import (
    AttentionBackend,
    AttentionFunction,
    AttentionPlace,
    attention_backends,
    quantization_modes,
)
from wanvideo.request import ProgressEvent

TALK = {"task": "talk", "image": "picture.png", "prompt": "a person", "num_frames": 17}
STEPS, WINDOWS = 4, 3
EXACT = next(name for name, row in attention_backends().items() if row.fallback is None)
SUSPECT = next(name for name, row in attention_backends().items() if row.fallback is not None)
BROKEN = BrokenOutput("NaN", "in step 1")


class Spoiling:
    """Exact attention that spoils one step of one window; counts the windows it is used for."""

    def __init__(self, window: int, step: int) -> None:
        self._window, self._step = window, step
        self.windows = 0

    def load(self, place: AttentionPlace) -> AttentionFunction:
        self.windows += place.step == place.block == 0
        return self._spoil if (self.windows - 1, place.step) == (self._window, self._step) else attend

    @staticmethod
    def _spoil(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        spoilt = attend(query, key, value).clone()
        spoilt[:, 0, 0, 0] = torch.nan
        return spoilt


@pytest.fixture
def spoiling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Spoiling]:
    attention = Spoiling(*request.param)
    row = AttentionBackend(
        name="spoiling",
        label="",
        priority=-1,
        fallback=EXACT,
        unavailable_reason=lambda _: None,
        load=attention.load,
    )
    monkeypatch.setitem(attention_backends(), row.name, row)
    yield attention


def frames(result: GenerationResult) -> Any:
    return np.stack(list(read_frames(str(result.output), 25)))


def spoilt_plan(home: Path, **more: Any) -> GenerationPlan:  # noqa: F811
    return replace(plan_of(home, **TALK, num_inference_steps=STEPS, **more), attention="spoiling")


@pytest.fixture(scope="module")
def undisturbed(home: Path) -> Any:  # noqa: F811
    return frames(generate(plan_of(home, **TALK, num_inference_steps=STEPS), ModelCache()))


@pytest.mark.parametrize(
    ("spoiling", "told_at", "where"),
    [
        ((1, 0), 1, "in step 1"),
        ((1, 1), 2, "in step 2"),
        ((1, STEPS - 1), STEPS, "in the last step"),
        ((0, 0), 1, "in step 1"),
    ],
    indirect=["spoiling"],
    ids=["first step", "second step", "last step", "first window"],
)
def test_a_spoilt_window_is_made_again_with_exact_attention(
    home: Path,  # noqa: F811
    undisturbed: Any,
    spoiling: Spoiling,
    told_at: int,
    where: str,
) -> None:
    steps: Counter[int] = Counter()
    said: list[str] = []

    def listen(event: ProgressEvent) -> None:
        steps[event.window] += bool(event.step)
        said.extend([event.message] if event.message else [])

    result = generate(spoilt_plan(home), ModelCache(), listen)
    broken = spoiling.windows - 1
    assert steps == {window: STEPS + told_at * (window == broken) for window in range(WINDOWS)}
    assert result.plan.attention == EXACT
    notes = [note for note in result.plan.notes if "spoiling made NaN" in note]
    assert len(notes) == 1 and notes[0] in said
    assert f"{where} of window {broken + 1}" in notes[0]
    np.testing.assert_array_equal(frames(result), undisturbed)


@pytest.mark.parametrize("spoiling", [(1, 0)], indirect=True)
def test_what_is_broken_with_exact_attention_too_is_no_video(
    home: Path,  # noqa: F811
    spoiling: Spoiling,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = replace(attention_backends()[EXACT], load=lambda _: Spoiling._spoil)
    monkeypatch.setitem(attention_backends(), EXACT, exact)
    plan = spoilt_plan(home, seed=4)
    with pytest.raises(UserError, match="with exact attention the model made NaN in step 1 of window 2"):
        generate(plan, ModelCache())
    assert spoiling.windows == 2 and not plan.output.exists()
    assert job_folder(plan).finished() == 1, "what was good is kept"


@pytest.mark.parametrize("spoiling", [(9, 9)], indirect=True)
@pytest.mark.parametrize("colour", [-1.0, 0.2])
def test_a_black_or_plain_window_is_made_again(
    home: Path,  # noqa: F811
    spoiling: Spoiling,
    colour: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = plain_decoder(monkeypatch, colour, {1})
    result = generate(spoilt_plan(home, color_correction=0.0), ModelCache())
    assert len(calls) == WINDOWS + 1 and spoiling.windows == 2
    assert any("after decoding of window 2" in note for note in result.plan.notes)
    again = generate(
        replace(plan_of(home, **TALK, num_inference_steps=STEPS, color_correction=0.0)), ModelCache()
    )
    np.testing.assert_array_equal(frames(result), frames(again))


def test_a_plain_video_is_never_a_success(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    plain_decoder(monkeypatch, -1.0, set(range(9)))
    plan = plan_of(home, task="text_to_video", prompt="night", seed=5)
    with pytest.raises(UserError, match="black pictures after decoding of window 1"):
        generate(plan, ModelCache())
    assert not plan.output.exists()


def test_a_plain_picture_may_give_a_plain_video(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    Image.new("RGB", (96, 64), "white").save(home / "plain.png")
    plain_decoder(monkeypatch, 1.0, set(range(9)))
    result = generate(plan_of(home, task="image_to_video", image="plain.png", seed=6), ModelCache())
    assert result.quality.as_mapping()["flat"]["past"], "it is told all the same"
    plain_decoder(monkeypatch, float("nan"), set(range(9)))
    with pytest.raises(UserError, match="NaN after decoding"):
        generate(plan_of(home, task="image_to_video", image="plain.png", seed=7), ModelCache())


def test_what_leaves_the_range_of_fp16_is_decoded_again_in_fp32(
    home: Path,  # noqa: F811
    undisturbed: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The window's denoising is kept, and all after it are decoded in fp32 at once."""
    steps: Counter[int] = Counter()
    said, dtypes = list[str](), list[torch.dtype]()
    calls = plain_decoder(monkeypatch, float("nan"), {1}, dtypes)

    def listen(event: ProgressEvent) -> None:
        steps[event.window] += bool(event.step)
        said.extend([event.message] if event.message else [])

    asked = plan_of(home, **TALK, num_inference_steps=STEPS)
    result = generate(replace(asked, vae_dtype="fp16"), ModelCache(), listen)
    assert len(calls) == WINDOWS + 1
    assert dtypes == [torch.float16] * 2 + [torch.float32] * (WINDOWS - 1)
    assert steps == dict.fromkeys(range(WINDOWS), STEPS)
    assert result.plan.vae_dtype == result.plan.effective()["vae_precision"] == "fp32"
    notes = [note for note in result.plan.notes if "the VAE in fp16 made NaN after decoding" in note]
    assert len(notes) == 1 and notes[0] in said
    assert "of window 2: this window is decoded again, and all after it, in fp32" in notes[0]
    assert np.abs(frames(result).astype(int) - undisturbed.astype(int)).mean() < 8, "it is the same video"


@pytest.mark.parametrize("dtype", ["fp16", "bf16", "fp32"])
def test_only_numbers_that_are_none_and_only_in_fp16_speak_against_the_vae(home: Path, dtype: str) -> None:  # noqa: F811
    plan = replace(spoilt_plan(home), attention=SUSPECT, vae_dtype=dtype)
    for broken, is_vae in (
        (BrokenOutput(NAN, DECODED), dtype == "fp16"),
        (BrokenOutput("black pictures", DECODED), False),
        (BROKEN, False),
    ):
        again = tried_again(plan, 0, broken)
        assert again.vae_dtype == ("fp32" if is_vae else dtype)
        assert again.attention == (SUSPECT if is_vae else EXACT)


def plain_decoder(
    monkeypatch: pytest.MonkeyPatch, colour: float, plain: set[int], dtypes: list[torch.dtype] | None = None
) -> list[int]:
    """The VAE's calls of these numbers give frames of one colour. Returns a list with an item per call; in
    `dtypes` goes that of the VAE.
    """
    from wanvideo import pipeline

    real, calls = pipeline.decode_pieces, []

    def decode(*given: Any) -> Iterator[Tensor]:
        calls.append(len(calls))
        if dtypes is not None:
            dtypes.append(given[0].dtype)
        is_plain = calls[-1] in plain
        for piece in real(*given):
            yield torch.full_like(piece, colour) if is_plain else piece

    monkeypatch.setattr(pipeline, "decode_pieces", decode)
    return calls


@pytest.mark.parametrize("name", attention_backends())
def test_every_backend_gives_way_to_the_exact_one(home: Path, name: str) -> None:  # noqa: F811
    plan, row = replace(plan_of(home, **TALK), attention=name), attention_backends()[name]
    if row.fallback is None:
        with pytest.raises(UserError, match="with exact attention"):
            with_exact_attention(plan, 0, BROKEN)
        return
    changed = with_exact_attention(plan, 0, BROKEN)
    assert attention_backends()[changed.attention].fallback is None
    assert len(changed.notes) == len(plan.notes) + 1
    assert (row.fallback in changed.notes[-1].rpartition("next time")[2]) or row.fallback == EXACT


@pytest.mark.parametrize("name", quantization_modes())
def test_a_fast_quantization_is_named_with_what_helps(home: Path, name: str) -> None:  # noqa: F811
    mode = quantization_modes()[name]
    with pytest.raises(UserError) as raised:
        with_exact_attention(replace(plan_of(home, **TALK), quantization=name), 2, BROKEN)
    assert "more steps" in raised.value.fix and "guidance" in raised.value.fix
    suggested = f"quantization {mode.fallback} instead of {name}" if mode.fallback else "base_precision"
    assert suggested in raised.value.fix
