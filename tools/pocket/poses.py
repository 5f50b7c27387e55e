"""How subjects stand and move: every quantity is a CPU tensor (batch, frames) over times in seconds."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from random import Random

import torch
from torch import Tensor

FPS = 25
# Where one of two speakers sits.
SEAT_X, SEAT_Y, SEAT_SCALE = 0.47, 0.15, 0.74
# What a character can do in a motion clip; captions know a phrase for each.
ACTS = (
    "nods",
    "shakes",
    "looks left",
    "looks right",
    "blinks",
    "smiles",
    "tilts",
    "zooms in",
    "moves left",
    "moves right",
)
# What a shape or a head can do in a text-to-video clip.
MOVES = (
    "moves left",
    "moves right",
    "moves up",
    "moves down",
    "grows",
    "shrinks",
    "spins",
    "bounces",
    "stays",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pose:
    """Screen units for x and y, radians for roll, head units for turn and nod, shares for the rest."""

    x: Tensor
    y: Tensor
    scale: Tensor
    roll: Tensor
    turn: Tensor
    """Head turned to the right of the picture (positive) or to its left."""
    nod: Tensor
    """Head lowered (positive) or raised."""
    lid_left: Tensor
    lid_right: Tensor
    """1 open, 0 closed; left and right as seen in the picture."""
    gaze: Tensor
    brow: Tensor
    smile: Tensor
    opening: Tensor
    spread: Tensor
    """Mouth openness and width, 0..1."""
    zoom: Tensor
    """Camera magnification about the centre of the picture."""

    def rows(self, rows: Sequence[int]) -> "Pose":
        index = torch.tensor(rows, dtype=torch.long)
        return Pose(**{field.name: getattr(self, field.name)[index] for field in fields(self)})


def still(batch: int, frames: int, random: Random) -> Pose:
    """The neutral moment of `batch` clips: eyes open, mouth closed, a friendly face, no motion."""
    zero, one = torch.zeros(batch, frames), torch.ones(batch, frames)
    place = torch.tensor(
        [
            [
                random.gauss(0, 0.05),
                random.gauss(0.0, 0.02),
                random.uniform(0.46, 0.54),
                random.uniform(0.35, 0.9),
            ]
            for _ in range(batch)
        ]
    )[..., None]
    return Pose(
        x=zero + place[:, 0],
        y=zero + place[:, 1],
        scale=zero + place[:, 2],
        roll=zero,
        turn=zero,
        nod=zero,
        lid_left=one,
        lid_right=one,
        gaze=zero,
        brow=zero,
        smile=zero + place[:, 3],
        opening=zero,
        spread=zero + 0.5,
        zoom=one,
    )


def seated(count: int, random: Random, aside: Tensor | None = None) -> Pose:
    """Speakers in the middle (0), the left half (-1) or the right half (1) by `aside` (batch, 1).

    Without it most sit in the middle; one of eight sits in one half, as in a picture of two.
    """
    neutral = still(count, 1, random)
    if aside is None:
        aside = torch.tensor([[random.choice((-1.0, 1.0)) * (random.random() < 0.125)] for _ in range(count)])
    return replace(
        neutral,
        x=neutral.x + SEAT_X * aside,
        y=neutral.y + SEAT_Y * aside.abs(),
        scale=neutral.scale * (1.0 - (1.0 - SEAT_SCALE) * aside.abs()),
    )


def joined(first: Pose, second: Pose) -> Pose:
    """Two poses one after the other in time."""
    return Pose(
        **{
            field.name: torch.cat([getattr(first, field.name), getattr(second, field.name)], dim=1)
            for field in fields(first)
        }
    )


def talking(neutral: Pose, times: Tensor, mouth: Tensor, random: Random, rest: Tensor | None = None) -> Pose:
    """Gentle head motion and blinks while the mouth follows `mouth` (batch, frames, 2).

    Clips whose `rest` (batch, 1) is true start at rest, as a video made from a picture does; the others are
    in mid motion. Without `rest` it is half of them, at random.
    """
    if rest is None:
        rest = coins(times.shape[0], random)
    swing = torch.where(rest, _ease((times - times[:, :1]) / 0.8), torch.ones_like(times))
    lids = _blinks(times, random)
    effort = mouth[..., 0]
    return replace(
        neutral,
        roll=swing * _drift(times, 0.07, random),
        turn=swing * _drift(times, 0.32, random),
        nod=swing * (_drift(times, 0.18, random) + 0.12 * effort),
        gaze=swing * _drift(times, 0.35, random),
        x=neutral.x + swing * _drift(times, 0.025, random),
        y=neutral.y + swing * _drift(times, 0.012, random),
        brow=swing * (0.35 * effort + _drift(times, 0.3, random)),
        lid_left=lids,
        lid_right=lids,
        opening=effort,
        spread=mouth[..., 1],
    )


def acting(neutral: Pose, times: Tensor, acts: Sequence[str], random: Random) -> Pose:
    """One named motion of `ACTS` per clip; the first frame is at rest."""
    ease = _ease((times - 0.08) / 0.75)
    swing = torch.sin(2.0 * math.pi * 1.5 * times) * _ease(times / 0.2)
    # Two blinks a second from frame 6 on, each about a third of a second long.
    blink = 1.0 - torch.exp(-(((torch.remainder(times, 0.6) - 0.34) / 0.075) ** 4))
    side = torch.tensor([random.choice((-1.0, 1.0)) for _ in acts])[:, None]
    smile = torch.where(
        _where(acts, "smiles"),
        torch.lerp(torch.full_like(times, 0.1), torch.full_like(times, 1.0), ease),
        neutral.smile,
    )
    look = _on(acts, "looks right") - _on(acts, "looks left")
    move = _on(acts, "moves right") - _on(acts, "moves left")
    lids = torch.where(_where(acts, "blinks"), blink, torch.ones_like(times))
    return replace(
        neutral,
        nod=_on(acts, "nods") * 0.75 * swing,
        smile=smile,
        lid_left=lids,
        lid_right=lids,
        turn=look * 0.85 * ease + _on(acts, "shakes") * 0.85 * swing * side,
        gaze=look * ease,
        roll=_on(acts, "tilts") * 0.34 * ease * side,
        x=neutral.x + move * 0.34 * _ease(times / 1.2),
        brow=_on(acts, "smiles") * ease,
        zoom=1.0 + _on(acts, "zooms in") * 0.45 * (times / 1.28).clamp_max(1.6),
    )


def moving(times: Tensor, moves: Sequence[str], random: Random) -> Pose:
    """A shape or a head that does one of `MOVES` over the whole clip."""
    batch, frames = times.shape
    pose = still(batch, frames, random)
    share = (times - times[:, :1]) / (times[:, -1:] - times[:, :1]).clamp_min(0.04)
    base = torch.tensor(
        [
            [random.uniform(0.31, 0.40), random.uniform(-0.18, 0.18), random.uniform(-0.15, 0.15)]
            for _ in moves
        ]
    )[..., None]
    right = _on(moves, "moves right") - _on(moves, "moves left")
    down = _on(moves, "moves down") - _on(moves, "moves up")
    path = 1.1 * (share - 0.5)
    bounce = _on(moves, "bounces")
    hop = torch.sin(math.pi * 1.6 * (times - times[:, :1])).abs()
    growth = torch.exp(0.6 * (_on(moves, "grows") - _on(moves, "shrinks")) * (2.0 * share - 1.0))
    still_x = torch.where(right != 0.0, torch.zeros(()), base[:, 1])
    still_y = torch.where((down != 0.0) | (bounce != 0.0), torch.zeros(()), base[:, 2])
    return replace(
        pose,
        x=still_x + right * path,
        y=still_y + down * path + bounce * (0.5 - 0.95 * hop),
        scale=base[:, 0] * growth,
        roll=_on(moves, "spins") * 2.0 * math.pi * 0.85 * (times - times[:, :1]),
    )


def times_of(count: int, frames: int) -> Tensor:
    """Seconds of each frame of a clip -> (count, frames)."""
    return (torch.arange(frames) / FPS).expand(count, -1)


def any_starts(count: int, random: Random, longest: float = 20.0) -> Tensor:
    """Random moments, in seconds -> (count, 1)."""
    return torch.tensor([[random.uniform(0.0, longest)] for _ in range(count)])


def coins(batch: int, random: Random) -> Tensor:
    """True or false at random -> (batch, 1)."""
    return torch.tensor([random.random() < 0.5 for _ in range(batch)])[:, None]


def _on(acts: Sequence[str], name: str) -> Tensor:
    return torch.tensor([float(act == name) for act in acts])[:, None]


def _where(acts: Sequence[str], name: str) -> Tensor:
    return torch.tensor([act == name for act in acts])[:, None]


def _ease(share: Tensor) -> Tensor:
    share = share.clamp(0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)


def _drift(times: Tensor, size: float, random: Random) -> Tensor:
    """A slow smooth wander of about +-`size`: three sines that never line up."""
    waves = torch.tensor(
        [
            [
                (random.uniform(low, low * 1.8), random.uniform(0.0, 6.28), random.uniform(0.3, 1.0))
                for low in (0.12, 0.3, 0.6)
            ]
            for _ in range(times.shape[0])
        ]
    )
    rate, phase, weight = waves[:, None].unbind(-1)
    wave = torch.sin(2.0 * math.pi * rate * times[..., None] + phase) * weight
    return size * 0.75 * wave.sum(-1)


def _blinks(times: Tensor, random: Random) -> Tensor:
    """Eyelids (1 open): a quick blink every two to four seconds."""
    period = torch.tensor(
        [[random.uniform(1.8, 4.0), random.uniform(0.0, 4.0)] for _ in range(times.shape[0])]
    )
    since = torch.remainder(times + period[:, 1:], period[:, :1]) - 0.2
    return 1.0 - torch.exp(-((since / 0.075) ** 4))


def held(pose: Pose, frames: int) -> Pose:
    """One moment held for a number of frames."""
    return Pose(**{field.name: getattr(pose, field.name).expand(-1, frames) for field in fields(pose)})


def at(pose: Pose, frame: int) -> Pose:
    """One moment of a pose: (batch, 1)."""
    return Pose(**{field.name: getattr(pose, field.name)[:, frame : frame + 1] for field in fields(pose)})


def stacked(first: Pose, second: Pose) -> Pose:
    """The clips of two poses in one batch."""
    return Pose(
        **{
            field.name: torch.cat([getattr(first, field.name), getattr(second, field.name)])
            for field in fields(first)
        }
    )
