"""Batches of training clips and pictures of the cartoon world."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from tools.pocket import captions, looks, pairs, poses, scenes
from tools.pocket.faces import mouth_boxes
from tools.pocket.looks import Look, Setting
from tools.pocket.poses import Pose
from tools.pocket.sound import FRAME, mouth_track
from tools.pocket.voices import VoiceBank, training_waves

KINDS = ("talk", "motion", "shapes", "pair")
TALKS = "talks"
AUDIO_MARGIN = 8
# Drawing needs some twenty floats per pixel at a time.
_PIXELS_AT_ONCE = {"cuda": 48_000_000, "cpu": 500_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """A batch of clips. Pictures are in [-1, 1]; sound and mouth belong to talk clips and pairs alone.

    A pair's sound, mouth and boxes have a second dimension of two speakers, the left one and the right one.
    """

    video: Tensor
    """(batch, 3, frames, size, size) float32."""
    reference: Tensor
    """(batch, 3, size, size): the same scene at a neutral moment, mouth closed and head at rest."""
    captions: list[str]
    looks: Sequence[Look]
    """Who is shown; of a pair the left one."""
    acts: Sequence[str]
    """What happens: "talks", one of `poses.ACTS` or one of `poses.MOVES`."""
    waves: Tensor | None
    """(batch, (frames + 2 * AUDIO_MARGIN) * 640), mono, 16 kHz; who is silent in a pair has exact zeros."""
    mouth: Tensor | None
    """(batch, frames + 2 * AUDIO_MARGIN, 2): openness and width, with AUDIO_MARGIN frames around."""
    mouth_boxes: Tensor | None
    """(batch, 4) x0, y0, x1, y1 in pixels: holds the mouth through the head's motion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Script:
    """What a batch shows, before it is drawn. The pose's last frame is the neutral moment."""

    looks: Sequence[Look]
    settings: Sequence[Setting]
    captions: list[str]
    acts: Sequence[str]
    pose: Pose
    partners: tuple[Sequence[Look], Pose] | None = None
    """The right ones of pairs; `looks` and `pose` are then the left ones."""
    waves: Tensor | None = None
    mouth: Tensor | None = None


def make_clips(
    kind: str,
    count: int,
    *,
    frames: int,
    size: int,
    generator: torch.Generator,
    voices: VoiceBank | None = None,
) -> Clips:
    """`count` random clips of one of `KINDS` on the generator's device; `voices` is for speech alone.

    Raises ValueError for another kind. The same generator state gives the same clips.
    """
    random = captions.seeded(generator)
    if kind == "talk":
        script = _talk(count, frames, random, generator, voices)
    elif kind == "motion":
        script = _motion(count, frames, random)
    elif kind == "shapes":
        script = _shapes(count, poses.times_of(count, frames), random)
    elif kind == "pair":
        script = _pair(count, frames, random, generator, voices)
    else:
        raise ValueError(f"kind {kind!r} is none of {KINDS}")
    pictures = _drawn(script, size, generator.device)
    return Clips(
        video=pictures[:, :, :-1].contiguous(),
        reference=pictures[:, :, -1].contiguous(),
        captions=script.captions,
        looks=script.looks,
        acts=script.acts,
        waves=script.waves,
        mouth=script.mouth,
        mouth_boxes=None if script.mouth is None else _boxes(script, size).to(generator.device),
    )


def make_pictures(count: int, *, size: int, generator: torch.Generator) -> Tensor:
    """Single frames of all kinds at random moments -> (count, 3, size, size) in [-1, 1]."""
    random = captions.seeded(generator)
    shares = {_act_moment: count // 4, _shape_moment: count // 3, _pair_moment: count // 7}
    shares[_talk_moment] = count - sum(shares.values())
    scripts = [moment(share, random) for moment, share in shares.items() if share]
    pictures = [_drawn(script, size, generator.device)[:, :, 0] for script in scripts]
    order = torch.randperm(count, generator=generator, device=generator.device)
    return torch.cat(pictures)[order]


def _talk(
    count: int, frames: int, random: Random, generator: torch.Generator, voices: VoiceBank | None
) -> _Script:
    waves = training_waves(count, (frames + 2 * AUDIO_MARGIN) * FRAME, generator, voices)
    mouth = mouth_track(waves)
    seen = mouth[:, AUDIO_MARGIN:-AUDIO_MARGIN].cpu()
    shown, settings = _casting(count, random)
    neutral = poses.seated(count, random)
    times = poses.times_of(count, frames) + poses.any_starts(count, random)
    pose = poses.talking(poses.held(neutral, frames), times, seen, random)
    texts = [captions.talk_caption(*row, random) for row in zip(shown, settings, strict=True)]
    return _Script(
        looks=shown,
        settings=settings,
        captions=texts,
        acts=[TALKS] * count,
        pose=poses.joined(pose, neutral),
        waves=waves,
        mouth=mouth,
    )


def _pair(
    count: int, frames: int, random: Random, generator: torch.Generator, voices: VoiceBank | None
) -> _Script:
    turns = pairs.any_turns(count, random)
    waves = pairs.pair_waves(turns, (frames + 2 * AUDIO_MARGIN) * FRAME, generator, voices)
    mouth = mouth_track(waves.flatten(0, 1)).unflatten(0, (count, 2))
    seen = mouth[:, :, AUDIO_MARGIN:-AUDIO_MARGIN].cpu()
    (shown, pose), partners = pairs.side_by_side(seen, random)
    settings = [looks.any_setting(random) for _ in range(count)]
    rows = zip(shown, partners[0], settings, turns, strict=True)
    return _Script(
        looks=shown,
        settings=settings,
        captions=[captions.pair_caption(*row, random) for row in rows],
        acts=[TALKS] * count,
        pose=pose,
        partners=partners,
        waves=waves,
        mouth=mouth,
    )


def _motion(count: int, frames: int, random: Random) -> _Script:
    """Three of four clips show a character, the others a moving shape."""
    heads = count - count // 4
    acted = _acts(heads, poses.times_of(heads, frames), random)
    if heads == count:
        return acted
    moved = _shapes(count - heads, poses.times_of(count - heads, frames), random)
    return _shuffled(acted, moved, random)


def _acts(count: int, times: Tensor, random: Random) -> _Script:
    shown, settings = _casting(count, random)
    acts = [random.choice(poses.ACTS) for _ in range(count)]
    neutral = poses.still(count, 1, random)
    pose = poses.acting(poses.held(neutral, times.shape[1]), times, acts, random)
    texts = [captions.act_caption(*row, random) for row in zip(shown, settings, acts, strict=True)]
    first = poses.acting(neutral, torch.zeros(count, 1), acts, random)
    return _Script(looks=shown, settings=settings, captions=texts, acts=acts, pose=poses.joined(pose, first))


def _shapes(count: int, times: Tensor, random: Random) -> _Script:
    shown = [looks.any_subject(random) for _ in range(count)]
    moves = [random.choice(poses.MOVES) for _ in range(count)]
    settings = [looks.setting_for(look, random) for look in shown]
    pose = poses.moving(times, moves, random)
    texts = [captions.move_caption(*row, random) for row in zip(shown, settings, moves, strict=True)]
    pose = poses.joined(pose, poses.at(pose, 0))
    return _Script(looks=shown, settings=settings, captions=texts, acts=moves, pose=pose)


def _talk_moment(count: int, random: Random) -> _Script:
    shown, settings = _casting(count, random)
    mouth = torch.tensor([[[random.random() * (random.random() < 0.75), random.random()]] for _ in shown])
    pose = poses.talking(poses.seated(count, random), poses.any_starts(count, random), mouth, random)
    return _Script(looks=shown, settings=settings, captions=[], acts=[], pose=pose)


def _pair_moment(count: int, random: Random) -> _Script:
    draws = [[random.random() * (random.random() < 0.75), random.random()] for _ in range(2 * count)]
    (shown, pose), partners = pairs.side_by_side(torch.tensor(draws).view(count, 2, 1, 2), random)
    settings = [looks.any_setting(random) for _ in range(count)]
    return _Script(looks=shown, settings=settings, captions=[], acts=[], pose=pose, partners=partners)


def _act_moment(count: int, random: Random) -> _Script:
    script = _acts(count, poses.any_starts(count, random, 1.3), random)
    return _Script(
        looks=script.looks, settings=script.settings, captions=[], acts=[], pose=poses.at(script.pose, 0)
    )


def _shape_moment(count: int, random: Random) -> _Script:
    """The middle one of three moments: motion is spread over the times that it is given."""
    middle = torch.tensor([[0.0, random.uniform(0.0, 1.28), 1.28] for _ in range(count)])
    script = _shapes(count, middle, random)
    return _Script(
        looks=script.looks, settings=script.settings, captions=[], acts=[], pose=poses.at(script.pose, 1)
    )


def _casting(count: int, random: Random) -> tuple[list[Look], list[Setting]]:
    settings = [looks.any_setting(random) for _ in range(count)]
    return [looks.any_character(random) for _ in range(count)], settings


def _shuffled(first: _Script, second: _Script, random: Random) -> _Script:
    """Two silent scripts as one, in random order."""
    order = list(range(len(first.looks) + len(second.looks)))
    random.shuffle(order)
    shown, settings = [*first.looks, *second.looks], [*first.settings, *second.settings]
    texts = first.captions + second.captions
    return _Script(
        looks=[shown[row] for row in order],
        settings=[settings[row] for row in order],
        captions=[texts[row] for row in order],
        acts=[[*first.acts, *second.acts][row] for row in order],
        pose=poses.stacked(first.pose, second.pose).rows(order),
    )


def _boxes(script: _Script, size: int) -> Tensor:
    """Where mouths are: (batch, 4), of pairs (batch, 2, 4)."""
    left = mouth_boxes(script.looks, script.pose, size)
    return (
        left if script.partners is None else torch.stack([left, mouth_boxes(*script.partners, size)], dim=1)
    )


def _drawn(script: _Script, size: int, device: torch.device) -> Tensor:
    """Paint in chunks that fit the memory -> (batch, 3, frames, size, size) in [-1, 1]."""
    frames = script.pose.x.shape[1]
    chunk = max(1, _PIXELS_AT_ONCE.get(device.type, _PIXELS_AT_ONCE["cpu"]) // (frames * size * size))
    parts = []
    for start in range(0, len(script.looks), chunk):
        rows = list(range(start, min(start + chunk, len(script.looks))))
        part = scenes.paint(
            [script.looks[row] for row in rows],
            [script.settings[row] for row in rows],
            script.pose.rows(rows),
            size,
            device,
        )
        if script.partners is not None:
            shown, pose = script.partners
            scenes.add_subjects(part, [shown[row] for row in rows], pose.rows(rows))
        parts.append(part.mul_(2.0).sub_(1.0))
    return torch.cat(parts)
