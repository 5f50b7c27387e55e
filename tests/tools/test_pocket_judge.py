"""The judge of clips: its questions, its files, and captions read back by what they promise."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from tools.pocket.dataset import make_clips
from tools.pocket.judge import (
    FRAMES,
    HEADS,
    SIZE,
    UNKNOWN,
    Judge,
    Verdict,
    labels,
    load_judge,
    save_judge,
    small_form,
)
from tools.pocket.looks import PEOPLE
from tools.pocket.named import agreement, named, shares
from tools.pocket.palette import NAMED
from tools.pocket.shards import to_values
from tools.pocket.train_judge import (
    AMOUNTS,
    FIGURES_FILE,
    FILE,
    Amounts,
    Examples,
    JudgePool,
    Painter,
    accuracies,
    answers,
    judge_loss,
    spoiled,
    train_judge,
    word_accuracies,
)
from tools.pocket.training_run import StageOptions

SHIPPED = Path(__file__).parents[2] / "tools" / "pocket" / FILE
KINDS = ("talk", "motion", "shapes")
SEEN = Verdict(
    subject="girl",
    coat=None,
    shirt="blue",
    headwear="bow",
    headwear_colour="red",
    motion="nods",
    probabilities={},
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def drawn() -> Examples:
    return Painter(generator=seeded(), size=64, vae=None).draw(12)


def test_clips_of_every_length_and_size_are_judged() -> None:
    torch.manual_seed(0)
    model = Judge(4)
    for frames, size in ((33, 96), (5, 64), (1, 32), (FRAMES, SIZE)):
        video = torch.rand(2, 3, frames, size, size) * 2 - 1
        assert small_form(video).shape == (2, 3, FRAMES, SIZE, SIZE)
        logits = model(video)
        assert {name: values.shape for name, values in logits.items()} == {
            name: (2, len(words)) for name, words in HEADS.items()
        }
        assert len(model.judge(video)) == 2


def test_small_form_keeps_ends_and_a_blink_and_is_its_own_small_form() -> None:
    video = torch.arange(33.0)[:, None, None].expand(1, 3, 33, 128, 128)
    small = small_form(video)
    times = small[0, 0, :, 5, 5]
    assert times[0] == 0
    assert times[-1] == 32
    assert float(times.diff().max()) <= 3  # a blink lasts eight frames
    assert torch.equal(small_form(small), small)


def test_questions_that_do_not_apply_have_no_label() -> None:
    clips = make_clips("motion", 40, frames=1, size=8, generator=seeded(2))
    truth = labels(clips.looks, clips.acts)
    for look, act, row in zip(clips.looks, clips.acts, truth.tolist(), strict=True):
        words = {
            name: None if index == UNKNOWN else HEADS[name][index]
            for name, index in zip(HEADS, row, strict=True)
        }
        assert words["subject"] == look.subject
        assert words["motion"] == act
        assert (words["coat"] is None) == (look.subject in PEOPLE)
        assert (words["shirt"] is None) == (look.subject not in PEOPLE or not look.body)
        assert (words["headwear_colour"] is None) == (look.headwear is None)
    assert len({tuple(row) for row in (truth == UNKNOWN).tolist()}) >= 4


def test_loss_counts_only_what_applies() -> None:
    truth = torch.full((3, len(HEADS)), UNKNOWN)
    truth[0, 0] = 2
    logits = {name: torch.randn(3, len(words), requires_grad=True) for name, words in HEADS.items()}
    loss, losses = judge_loss(logits, truth)
    loss.backward()
    torch.testing.assert_close(loss, -logits["subject"][0].log_softmax(-1)[2])
    assert not losses["motion"].any()
    gradient = logits["subject"].grad
    assert gradient is not None
    assert bool(gradient[0].any())
    assert not bool(gradient[1:].any())


def test_a_judge_learns_twelve_drawn_clips(drawn: Examples) -> None:
    torch.manual_seed(0)
    video, truth = drawn.video, drawn.truth
    model = Judge(8)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before = accuracies(answers(model, video), truth)
    for _ in range(30):
        loss, _ = judge_loss(model(video), truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    after = accuracies(answers(model, video), truth)
    assert before["subject"] < 0.5
    assert min(after.values()) >= 0.9, after


def test_saved_weights_judge_alike(tmp_path: Path, drawn: Examples) -> None:
    torch.manual_seed(1)
    model = Judge(4)
    save_judge(model, tmp_path / FILE)
    again = load_judge(tmp_path / FILE)
    for name, values in again(drawn.video).items():
        torch.testing.assert_close(values, model(drawn.video)[name], atol=0.02, rtol=0.02)
    save_judge(Judge(), tmp_path / "standard.safetensors")
    assert (tmp_path / "standard.safetensors").stat().st_size <= 2_000_000


def test_spoiled_clips_stay_near_and_differ(drawn: Examples) -> None:
    torch.manual_seed(0)
    video = drawn.video
    made = spoiled(video)
    assert made.shape == video.shape
    assert float(made.abs().max()) <= 1.0
    assert 0.001 < float((made - video).abs().mean()) < 0.25
    flat = torch.full((64, 3, 2, SIZE, SIZE), 0.2)
    assert float((spoiled(flat).mean((2, 3, 4)) - 0.2).abs().max()) < 0.08


def test_pool_replaces_the_oldest(drawn: Examples) -> None:
    pool = JudgePool(8, torch.device("cpu"))
    six = replace(drawn, video=drawn.video[:6], truth=drawn.truth[:6])
    pool.add(six)
    pool.add(replace(six, video=-six.video))
    assert pool.added == 12
    torch.testing.assert_close(to_values(pool.video[:4]), -six.video[2:], atol=0.01, rtol=0.0)
    torch.testing.assert_close(to_values(pool.video[4:6]), six.video[4:], atol=0.01, rtol=0.0)
    sample, found = pool.sample(5)
    assert sample.shape == (5, 3, FRAMES, SIZE, SIZE)
    assert found.shape == (5, len(HEADS))


def test_accuracy_counts_right_words() -> None:
    truth = torch.tensor([[0, 1], [0, UNKNOWN], [2, 1], [2, 0]])
    truth = torch.cat([truth, torch.full((4, len(HEADS) - 2), UNKNOWN)], dim=1)
    said = truth.clamp_min(0)
    said[1, 0] = 2
    said[3, 1] = 1
    assert accuracies(said, truth) == {"subject": 0.75, "coat": 0.6667}
    right, wrong = word_accuracies(said, truth, "subject")
    assert right == {"ball": 0.5, "triangle": 1.0}
    assert wrong == {"triangle for ball": 0.5}


def test_captions_are_read_back_as_they_were_meant() -> None:
    for kind in KINDS:
        clips = make_clips(kind, 400, frames=1, size=8, generator=seeded(3))
        for caption, look, act in zip(clips.captions, clips.looks, clips.acts, strict=True):
            promise = named(caption)
            truth = {"coat": look.colour, "shirt": look.shirt, "headwear": look.headwear_colour}
            assert promise.subject == look.subject, caption
            assert promise.motion == act, caption
            assert promise.colours == {what: truth[what] for what in promise.colours}, caption
            assert ("shirt" in promise.colours) == (" shirt" in caption), caption
            assert ("coat" in promise.colours) == (look.subject not in PEOPLE), caption
            worn = look.headwear is not None and f" {look.headwear}" in caption
            assert ("headwear" in promise.colours) == worn, caption


@pytest.mark.parametrize(
    ("caption", "subject", "colours", "motion"),
    [
        ("a girl with a red bow nods on a blue background", "girl", {"headwear": "red"}, "nods"),
        ("a woman in a blue shirt with long red hair talks", "woman", {"shirt": "blue"}, "talks"),
        ("an orange cat turns left before red and blue lights", "cat", {"coat": "orange"}, "looks left"),
        ("a red circle turns around", "ball", {"coat": "red"}, "spins"),
        ("a boy with glasses in front of a yellow wall", "boy", {}, None),
        ("A green robot with a pink party hat", "robot", {"coat": "green", "headwear": "pink"}, None),
    ],
)
def test_named_words(caption: str, subject: str, colours: dict[str, str], motion: str | None) -> None:
    promise = named(caption)
    assert (promise.subject, promise.colours, promise.motion) == (subject, colours, motion)


def test_a_caption_without_a_subject_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="names none of"):
        named("a house on a hill")


def test_agreement_keeps_promises_apart() -> None:
    promise = named("a girl in a blue shirt with a red bow nods")
    kept = agreement(promise, SEEN)
    assert (kept.subject, kept.colour, kept.motion) == (True, True, True)
    other = agreement(promise, replace(SEEN, subject="boy", headwear_colour="pink", motion="shakes"))
    assert (other.subject, other.colour, other.motion) == (False, False, False)
    assert kept.kin and not other.kin
    grown = agreement(promise, replace(SEEN, subject="woman"))
    assert (grown.subject, grown.kin) == (False, True)
    bare = replace(SEEN, headwear=None, headwear_colour=None)
    assert agreement(promise, bare).colour is False
    texts = ["a girl in a blue shirt nods", "a boy with a red bow", "a girl in a room"]
    assert shares(texts, [SEEN, SEEN, SEEN]) == {"subject": 0.6667, "colour": 1.0, "motion": 1.0}
    vague = agreement(named("a girl in a room"), SEEN)
    assert (vague.colour, vague.motion) == (None, None)


def test_a_verdict_has_no_colour_of_what_is_not_there() -> None:
    torch.manual_seed(0)
    model = Judge(4)
    with torch.no_grad():
        for name, word in (("subject", "star"), ("headwear", "cap"), ("motion", "spins")):
            head = model.heads[name]
            assert isinstance(head, nn.Linear)
            head.bias[HEADS[name].index(word)] += 50
    (verdict,) = model.judge(torch.zeros(1, 3, 5, 32, 32))
    assert (verdict.subject, verdict.motion) == ("star", "spins")
    assert verdict.coat in HEADS["coat"]
    assert (verdict.shirt, verdict.headwear, verdict.headwear_colour) == (None, None, None)
    assert verdict.probabilities["subject"] > 0.99


def test_training_leaves_weights_and_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few = Amounts(size=32, drawn=8, first=8, held=16, held_out=16)
    monkeypatch.setitem(AMOUNTS, "cpu", few)
    options = StageOptions(
        minutes=0.001,
        seed=1,
        out=tmp_path,
        resume=None,
        clips=tmp_path,
        voices=tmp_path,
        device=torch.device("cpu"),
        batch=2,
    )
    train_judge(options)
    figures = json.loads((tmp_path / FIGURES_FILE).read_text(encoding="utf-8"))
    assert set(figures["drawn"]) <= set(HEADS)
    assert figures["steps"] >= 1
    assert set(figures["ceiling drawn"]) == {"subject", "colour", "motion"}
    assert "autoencoder" not in figures
    load_judge(tmp_path / FILE)


@pytest.mark.skipif(not SHIPPED.exists(), reason="the judge's weights have not been trained yet")
def test_the_shipped_judge_knows_its_world() -> None:
    model = load_judge(SHIPPED)
    right = []
    for kind in ("shapes", "motion"):
        clips = make_clips(kind, 12, frames=33, size=96, generator=seeded(77))
        verdicts = model.judge(clips.video)
        right += [look.subject == said.subject for look, said in zip(clips.looks, verdicts, strict=True)]
    assert sum(right) >= 0.9 * len(right)


def test_colours_of_clothes_are_words_of_the_palette() -> None:
    assert HEADS["shirt"] == HEADS["headwear_colour"] == tuple(NAMED)
