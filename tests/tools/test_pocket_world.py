"""The cartoon world: what its clips promise to those who train and measure on them."""

import string
from pathlib import Path
from random import Random

import pytest
import torch

from tools.pocket import pairs, poses, scenes
from tools.pocket.captions import pair_caption, sample_captions
from tools.pocket.dataset import AUDIO_MARGIN, KINDS, Clips, make_clips, make_pictures
from tools.pocket.looks import Setting, character
from tools.pocket.measure import lip_sync, mouth_opening
from tools.pocket.sound import FRAME, mouth_track, synthetic_speech
from tools.pocket.voices import VoiceBank, training_waves


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def talk() -> Clips:
    return make_clips("talk", 10, frames=33, size=96, generator=seeded(5))


def test_every_kind_has_its_shapes_and_range() -> None:
    for kind in KINDS:
        for size, frames in ((64, 5), (80, 1)):
            clips = make_clips(kind, 3, frames=frames, size=size, generator=seeded())
            assert clips.video.shape == (3, 3, frames, size, size)
            assert clips.reference.shape == (3, 3, size, size)
            assert clips.video.dtype == torch.float32
            assert -1.0 <= float(clips.video.min()) < 0.0 < float(clips.video.max()) <= 1.0
            assert len(clips.captions) == 3
            assert (clips.waves is not None) == (kind in ("talk", "pair"))
            assert len(clips.looks) == len(clips.acts) == 3


def test_same_seed_same_clips_and_other_seed_others() -> None:
    for kind in KINDS:
        first, again, other = (make_clips(kind, 2, frames=3, size=48, generator=seeded(s)) for s in (1, 1, 2))
        assert torch.equal(first.video, again.video), kind
        assert first.captions == again.captions
        assert not torch.equal(first.video, other.video), kind


def test_talk_clips_carry_sound_mouth_and_boxes(talk: Clips) -> None:
    assert talk.waves is not None
    assert talk.mouth is not None
    assert talk.mouth_boxes is not None
    frames = 33 + 2 * AUDIO_MARGIN
    assert talk.waves.shape == (10, frames * FRAME)
    assert talk.mouth.shape == (10, frames, 2)
    assert torch.equal(talk.mouth, mouth_track(talk.waves))
    assert 0.0 <= float(talk.mouth.min()) <= float(talk.mouth.max()) <= 1.0
    left, top, right, bottom = talk.mouth_boxes.unbind(-1)
    assert bool((left + 8 < right).all())
    assert bool((top + 8 < bottom).all())
    assert float(talk.mouth_boxes.max()) <= 96.0


def test_drawn_mouths_follow_their_own_sound_alone(talk: Clips) -> None:
    assert talk.mouth is not None
    assert talk.mouth_boxes is not None
    openness = talk.mouth[:, AUDIO_MARGIN:-AUDIO_MARGIN, 0]
    speaks = openness.amax(-1) > 0.3
    own = lip_sync(talk.video, talk.mouth_boxes, openness)[speaks]
    wrong = lip_sync(talk.video, talk.mouth_boxes, openness.roll(3, dims=0))[speaks & speaks.roll(3)]
    assert float(own.mean()) >= 0.85
    assert float(own.min()) >= 0.7
    assert float(wrong.mean()) < 0.4


@pytest.fixture(scope="module")
def pair() -> Clips:
    return make_clips("pair", 20, frames=33, size=96, generator=seeded(8))


def test_pairs_carry_two_of_everything_that_speaks(pair: Clips) -> None:
    assert pair.waves is not None
    assert pair.mouth is not None
    assert pair.mouth_boxes is not None
    frames = 33 + 2 * AUDIO_MARGIN
    assert pair.waves.shape == (20, 2, frames * FRAME)
    assert pair.mouth.shape == (20, 2, frames, 2)
    assert torch.equal(pair.mouth, mouth_track(pair.waves.flatten(0, 1)).view(20, 2, frames, 2))
    left, right = pair.mouth_boxes.unbind(1)
    assert float(left[:, 0].min()) > 0.0
    assert float(left[:, 2].max()) < 48.0 < float(right[:, 0].min())
    assert float(right[:, 2].max()) < 96.0
    assert set(pair.acts) == {"talks"}


def test_each_mouth_of_a_pair_follows_its_own_speech_alone(pair: Clips) -> None:
    assert pair.mouth is not None
    assert pair.mouth_boxes is not None
    openness = pair.mouth[:, :, AUDIO_MARGIN:-AUDIO_MARGIN, 0]
    speaks = openness.amax(-1) > 0.3
    own, other = (
        torch.stack([lip_sync(pair.video, pair.mouth_boxes[:, side], track[:, side]) for side in (0, 1)], 1)
        for track in (openness, openness.flip(1))
    )
    both = (openness > 0.0).float().mean(-1).amin(1) > 0.6
    assert int(both.sum()) >= 4
    assert float(own[speaks].mean()) >= 0.7
    assert float(other[both].mean()) < 0.4


def test_whoever_is_silent_in_a_pair_keeps_the_mouth_shut(pair: Clips) -> None:
    assert pair.waves is not None
    assert pair.mouth_boxes is not None
    silent = ~pair.waves.any(-1)
    assert 4 <= int(silent.sum()) < 20
    seen = torch.stack([mouth_opening(pair.video, pair.mouth_boxes[:, side]) for side in (0, 1)], 1)
    at_rest = torch.stack(
        [mouth_opening(pair.reference[:, :, None], pair.mouth_boxes[:, side]) for side in (0, 1)], 1
    )
    opened = (seen - at_rest).amax(-1)
    assert float(opened[silent].max()) < 0.02
    assert float(opened[~silent].mean()) > 0.04


def test_turns_of_a_pair_are_zeros_in_the_other_half_of_the_time() -> None:
    waves = pairs.pair_waves(list(pairs.TURNS), 64_000, seeded(), None)
    speaks = [[bool(part.any()) for wave in clip for part in wave.split(32_000)] for clip in waves]
    assert speaks == [
        [True, True, True, True],
        [True, True, False, False],
        [False, False, True, True],
        [True, False, False, True],
        [False, True, True, False],
    ]
    turns = pairs.any_turns(2_000, Random(0))
    for turn, share in pairs.TURNS.items():
        assert abs(turns.count(turn) / 2_000 - share) < 0.04


def test_each_half_holds_its_head_with_a_margin() -> None:
    size, count = 128, 24
    setting = [Setting(place="plain", colour="blue", second="white", seed=1)] * count
    empty = scenes.backgrounds(setting[:1], size, torch.device("cpu"))
    halves = pairs.side_by_side(torch.rand(count, 2, 5, 2, generator=seeded()), Random(3))
    pixel = 1.0 / size
    for start, (shown, pose) in zip((0.0, 0.5), halves, strict=True):
        video = scenes.paint(shown, setting, pose, size, torch.device("cpu"))
        columns = ((video - empty).abs() > 0.1).flatten(0, 1).any(0).any(0).any(0).nonzero() * pixel
        margin = 0.5 * 0.05 - pixel
        assert start + margin <= float(columns.min())
        assert float(columns.max()) + pixel <= start + 0.5 - margin
        assert float(pose.scale.min()) > 0.25


def test_heads_far_off_are_brought_back() -> None:
    shown = [character("cat", Random(0))]
    pose = poses.held(poses.still(1, 1, Random(0)), 3)
    kept = pairs.kept_in_half(shown, pose, 1.0)
    assert float(kept.scale.max()) < float(pose.scale.min())
    assert 0.4 < float(kept.x.min()) <= float(kept.x.max()) < 0.6


def test_pair_captions_say_who_speaks() -> None:
    girl, cat = character("girl", Random(1)), character("cat", Random(2))
    setting = Setting(place="room", colour="blue", second="white", seed=1)
    for seed in range(30):
        alone = pair_caption(girl, cat, setting, "right", Random(seed))
        assert alone.index("cat") < alone.index("girl"), alone
        both = pair_caption(girl, cat, setting, "both", Random(seed))
        assert both.index("girl") < both.index("cat"), both
        assert "another" in pair_caption(girl, girl, setting, "left", Random(seed))


def test_first_frame_of_a_motion_clip_is_its_reference() -> None:
    clips = make_clips("motion", 4, frames=9, size=64, generator=seeded(3))
    assert float((clips.video[:, :, 0] - clips.reference).abs().mean()) < 0.01
    assert float((clips.video[:, :, -1] - clips.reference).abs().mean()) > 0.001


def test_size_only_changes_the_resolution() -> None:
    small, large = (make_clips("shapes", 3, frames=2, size=s, generator=seeded(4)).video for s in (48, 96))
    shrunk = torch.nn.functional.avg_pool3d(large, (1, 2, 2))
    assert float((shrunk - small).abs().mean()) < 0.03


def test_unknown_kind_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="none of"):
        make_clips("song", 1, frames=1, size=32, generator=seeded())


def test_pictures_are_single_frames() -> None:
    pictures = make_pictures(7, size=64, generator=seeded())
    assert pictures.shape == (7, 3, 64, 64)
    assert float(pictures.abs().max()) <= 1.0
    assert make_pictures(1, size=32, generator=seeded()).shape == (1, 3, 32, 32)


def test_mouth_track_of_silence_gain_and_loudness() -> None:
    assert not mouth_track(torch.zeros(1, 10 * FRAME)).any()
    assert not mouth_track(1e-4 * torch.randn(1, 10 * FRAME, generator=seeded())).any()
    wave = synthetic_speech(3, 40 * FRAME, seeded())
    torch.testing.assert_close(mouth_track(wave), mouth_track(0.25 * wave), atol=1e-3, rtol=0.0)
    tone = torch.sin(torch.arange(20 * FRAME) * 0.2)
    swell = torch.where(torch.arange(20 * FRAME) < 10 * FRAME, 0.05, 0.5) * tone
    openness = mouth_track(swell[None])[0, :, 0]
    assert float(openness[2:8].mean()) + 0.5 < float(openness[12:18].mean())


def test_bright_sounds_make_wide_mouths() -> None:
    time = torch.arange(10 * FRAME) / 16_000
    low, high = (torch.sin(2.0 * torch.pi * pitch * time)[None] for pitch in (300.0, 2500.0))
    assert float(mouth_track(low)[..., 1].mean()) < 0.2 < 0.8 < float(mouth_track(high)[..., 1].mean())


def test_speech_like_sound_moves_a_mouth() -> None:
    track = mouth_track(synthetic_speech(8, 49 * FRAME, seeded(2)))[..., 0]
    assert float(track.std(dim=1).mean()) > 0.15
    assert 0.2 < float(track.mean()) < 0.8


def test_voice_bank_excerpts_take_part() -> None:
    bank = VoiceBank((torch.sin(torch.arange(160_000) * 0.1) * 20_000).to(torch.int16))
    pieces = bank.excerpts(4, 8_000, seeded())
    assert pieces.shape == (4, 8_000)
    assert 0.5 < float(pieces.abs().max()) < 0.65
    assert float(training_waves(16, 8_000, seeded(), bank).abs().max()) <= 1.0


def test_captions_are_short_plain_sentences() -> None:
    allowed = set(string.ascii_lowercase + " ")
    sentences = sample_captions(400, seeded())
    assert len(set(sentences)) > 200
    assert any(" listens" in sentence for sentence in sentences)
    for sentence in sentences:
        assert 3 <= len(sentence.split()) <= 24, sentence
        assert set(sentence) <= allowed, sentence
        assert "  " not in sentence
        assert sentence == sentence.strip()


def test_example_pictures_and_sound_are_there() -> None:
    folder = Path(__file__).parents[2] / "examples"
    names = {file.name for file in folder.iterdir()}
    assert {"girl.png", "boy.png", "cat.png", "bear.png", "robot.png", "pair.png", "hello.wav"} <= names
    assert sum(file.stat().st_size for file in folder.iterdir()) < 2_000_000
