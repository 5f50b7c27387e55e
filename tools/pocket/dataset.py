"""Batches of training clips and pictures of the cartoon world."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch import Tensor

from tools.pocket import captions, looks, poses, scenes
from tools.pocket.faces import mouth_boxes
from tools.pocket.looks import Look, Setting
from tools.pocket.poses import Pose
from tools.pocket.sound import FRAME, mouth_track
from tools.pocket.voices import VoiceBank, training_waves

KINDS = ("talk", "motion", "shapes")
AUDIO_MARGIN = 8
FPS = 25
# Where one of two speakers sits.
SEAT_X, SEAT_Y, SEAT_SCALE = 0.47, 0.15, 0.74
# Drawing needs some twenty floats per pixel at a time.
_PIXELS_AT_ONCE = {"cuda": 48_000_000, "cpu": 500_000}


@dataclass(frozen=True, slots=True, kw_only=True)
class Clips:
    """A batch of clips. Pictures are in [-1, 1]; sound and mouth belong to talk clips alone."""

    video: Tensor
    """(batch, 3, frames, size, size) float32."""
    reference: Tensor
    """(batch, 3, size, size): the same scene at a neutral moment, mouth closed and head at rest."""
    captions: list[str]
    waves: Tensor | None
    """(batch, (frames + 2 * AUDIO_MARGIN) * 640), mono, 16 kHz."""
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
    pose: Pose
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
    """`count` random clips of one of `KINDS` on the generator's device; `voices` is used for talk alone.

    Raises ValueError for another kind. The same generator state gives the same clips.
    """
    random = captions.seeded(generator)
    if kind == "talk":
        script = _talk(count, frames, random, generator, voices)
    elif kind == "motion":
        script = _motion(count, frames, random)
    elif kind == "shapes":
        script = _shapes(count, _times(count, frames), random)
    else:
        raise ValueError(f"kind {kind!r} is none of {KINDS}")
    pictures = _drawn(script, size, generator.device)
    boxes = mouth_boxes(script.looks, script.pose, size) if kind == "talk" else None
    return Clips(
        video=pictures[:, :, :-1].contiguous(),
        reference=pictures[:, :, -1].contiguous(),
        captions=script.captions,
        waves=script.waves,
        mouth=script.mouth,
        mouth_boxes=None if boxes is None else boxes.to(generator.device),
    )


def make_pictures(count: int, *, size: int, generator: torch.Generator) -> Tensor:
    """Single frames of all kinds at random moments -> (count, 3, size, size) in [-1, 1]."""
    random = captions.seeded(generator)
    talks, acts = count - count // 3 - count // 4, count // 4
    moments = ((_talk_moment, talks), (_act_moment, acts), (_shape_moment, count // 3))
    scripts = [moment(share, random) for moment, share in moments if share]
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
    neutral = _seated(count, random)
    times = _times(count, frames) + _starts(count, random)
    pose = poses.talking(poses.held(neutral, frames), times, seen, random)
    texts = [captions.talk_caption(*row, random) for row in zip(shown, settings, strict=True)]
    return _Script(
        looks=shown,
        settings=settings,
        captions=texts,
        pose=poses.joined(pose, neutral),
        waves=waves,
        mouth=mouth,
    )


def _motion(count: int, frames: int, random: Random) -> _Script:
    """Three of four clips show a character, the others a moving shape."""
    heads = count - count // 4
    acted = _acts(heads, _times(heads, frames), random)
    if heads == count:
        return acted
    moved = _shapes(count - heads, _times(count - heads, frames), random)
    return _shuffled(acted, moved, random)


def _acts(count: int, times: Tensor, random: Random) -> _Script:
    shown, settings = _casting(count, random)
    acts = [random.choice(poses.ACTS) for _ in range(count)]
    neutral = poses.still(count, 1, random)
    pose = poses.acting(poses.held(neutral, times.shape[1]), times, acts, random)
    texts = [captions.act_caption(*row, random) for row in zip(shown, settings, acts, strict=True)]
    first = poses.acting(neutral, torch.zeros(count, 1), acts, random)
    return _Script(looks=shown, settings=settings, captions=texts, pose=poses.joined(pose, first))


def _shapes(count: int, times: Tensor, random: Random) -> _Script:
    shown = [looks.any_subject(random) for _ in range(count)]
    moves = [random.choice(poses.MOVES) for _ in range(count)]
    settings = [looks.setting_for(look, random) for look in shown]
    pose = poses.moving(times, moves, random)
    texts = [captions.move_caption(*row, random) for row in zip(shown, settings, moves, strict=True)]
    return _Script(looks=shown, settings=settings, captions=texts, pose=poses.joined(pose, poses.at(pose, 0)))


def _talk_moment(count: int, random: Random) -> _Script:
    shown, settings = _casting(count, random)
    mouth = torch.tensor([[[random.random() * (random.random() < 0.75), random.random()]] for _ in shown])
    pose = poses.talking(_seated(count, random), _starts(count, random), mouth, random)
    return _Script(looks=shown, settings=settings, captions=[], pose=pose)


def _act_moment(count: int, random: Random) -> _Script:
    script = _acts(count, _starts(count, random, 1.3), random)
    return _Script(looks=script.looks, settings=script.settings, captions=[], pose=poses.at(script.pose, 0))


def _shape_moment(count: int, random: Random) -> _Script:
    """The middle one of three moments: motion is spread over the times that it is given."""
    middle = torch.tensor([[0.0, random.uniform(0.0, 1.28), 1.28] for _ in range(count)])
    script = _shapes(count, middle, random)
    return _Script(looks=script.looks, settings=script.settings, captions=[], pose=poses.at(script.pose, 1))


def _seated(count: int, random: Random) -> Pose:
    """Most speakers sit in the middle; one of eight sits in one half, as in a picture of two."""
    neutral = poses.still(count, 1, random)
    aside = torch.tensor([[random.choice((-1.0, 1.0)) * (random.random() < 0.125)] for _ in range(count)])
    return replace(
        neutral,
        x=neutral.x + SEAT_X * aside,
        y=neutral.y + SEAT_Y * aside.abs(),
        scale=neutral.scale * (1.0 - (1.0 - SEAT_SCALE) * aside.abs()),
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
        pose=poses.stacked(first.pose, second.pose).rows(order),
    )


def _times(count: int, frames: int) -> Tensor:
    return (torch.arange(frames) / FPS).expand(count, -1)


def _starts(count: int, random: Random, longest: float = 20.0) -> Tensor:
    return torch.tensor([[random.uniform(0.0, longest)] for _ in range(count)])


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
        parts.append(part.mul_(2.0).sub_(1.0))
    return torch.cat(parts)
