"""Two speakers in one picture: who speaks when, what each of them says, and room for both heads."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor

from tools.pocket import looks, poses
from tools.pocket.looks import Look
from tools.pocket.poses import Pose
from tools.pocket.voices import VoiceBank, training_waves

# Who speaks, and how often: in a "left first" clip each has one half of the time.
TURNS = {"both": 0.35, "left": 0.20, "right": 0.20, "left first": 0.125, "right first": 0.125}
SIDES = (-1.0, 1.0)  # left and right
# Each half of the picture is one screen unit wide; this much of it stays free at either side.
HALF_MARGIN = 0.05
# Half widths of heads with ears, whiskers, hair and headwear, turned a little, in head units.
_WIDE, _BROAD, _SLIM = 1.37, 1.29, 1.23


def any_turns(count: int, random: Random) -> list[str]:
    return random.choices(list(TURNS), list(TURNS.values()), k=count)


def pair_waves(
    turns: Sequence[str], samples: int, generator: torch.Generator, voices: VoiceBank | None
) -> Tensor:
    """-> (batch, 2, samples), left and right; zeros wherever somebody has to be silent."""
    waves = training_waves(2 * len(turns), samples, generator, voices).view(-1, 2, samples)
    middle = samples // 2
    for clip, turn in zip(waves, turns, strict=True):
        left, right = clip
        if turn == "left":
            right.zero_()
        elif turn == "right":
            left.zero_()
        elif turn != "both":
            first, second = (left, right) if turn == "left first" else (right, left)
            first[middle:] = 0.0
            second[:middle] = 0.0
    return waves


def side_by_side(mouth: Tensor, random: Random) -> list[tuple[list[Look], Pose]]:
    """The left and the right characters of a batch, whose mouths follow `mouth` (batch, 2, frames, 2).

    Each pose has one more frame, the neutral moment. Both of a pair start at rest, or none.
    """
    count, _, frames, _ = mouth.shape
    rest = poses.coins(count, random)
    halves = []
    for side, track in zip(SIDES, mouth.unbind(1), strict=True):
        shown = [_any_partner(random) for _ in range(count)]
        neutral = poses.seated(count, random, torch.full((count, 1), side))
        times = poses.times_of(count, frames) + poses.any_starts(count, random)
        pose = poses.talking(poses.held(neutral, frames), times, track, random, rest)
        halves.append((shown, kept_in_half(shown, poses.joined(pose, neutral), side)))
    return halves


def _any_partner(random: Random) -> Look:
    """A character that fits into half a picture: a bob instead of pigtails, which are as wide as the head."""
    look = looks.any_character(random)
    return replace(look, hair_style="bob") if look.hair_style == "pigtails" else look


def kept_in_half(shown: Sequence[Look], pose: Pose, side: float) -> Pose:
    """Poses (batch, frames) moved, and shrunk if need be, until each head stays in its half at every moment.

    `side` is one of SIDES; HALF_MARGIN stays free.
    """
    width = torch.tensor([_half_width(look) for look in shown])[:, None]
    sway = pose.x.amax(1, keepdim=True) - pose.x.amin(1, keepdim=True)
    scale = torch.minimum(pose.scale, (1.0 - 2.0 * HALF_MARGIN - sway) / (2.0 * width))
    left = (pose.x - width * scale).amin(1, keepdim=True)
    right = (pose.x + width * scale).amax(1, keepdim=True)
    low, high = 0.5 * side - 0.5 + HALF_MARGIN, 0.5 * side + 0.5 - HALF_MARGIN
    return replace(pose, x=pose.x + (low - left).clamp_min(0.0) + (high - right).clamp_max(0.0), scale=scale)


def _half_width(look: Look) -> float:
    if look.subject == "cat" or look.hair_style == "curly":
        return _WIDE
    return _BROAD if look.subject == "robot" or look.headwear == "cap" else _SLIM
