"""Rendered clips on their way to training: one process draws them into files, others take the files up.

A shard is one batch of one kind. A folder holds a bounded number of clips; who has taken a shard for good
deletes it, and the renderer goes on.
"""

import logging
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from tools.pocket.dataset import Clips, make_clips
from tools.pocket.voices import VoiceBank, load_voice_bank

FRAMES = 33


@dataclass(frozen=True, slots=True)
class Format:
    """Length and size of clips, and how many make a shard."""

    frames: int
    size: int
    clips: int


FORMATS = {
    "native": Format(FRAMES, 192, 32),
    "long": Format(81, 192, 12),
    "large": Format(FRAMES, 256, 16),
}
# What is drawn for whom: one shard each in turn, of kinds by turns and formats by turns.
MIXES = {
    "all": ("talk", "shapes", "pair", "motion", "talk", "shapes"),
    "text": ("shapes", "talk", "shapes", "motion"),
    "picture": ("talk", "pair", "motion"),
}
FORMAT_ORDER = ("native", "native", "long", "native", "native", "large", "native")
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Clips of one kind, in bytes: video (B, 3, F, S, S), reference (B, 3, S, S); speakers have sound.

    Sound, mouths and boxes of a pair have a dimension of speakers after that of clips.
    """

    kind: str
    video: Tensor
    reference: Tensor
    captions: list[str]
    shape: str
    """Its row of `FORMATS`."""
    waves: Tensor | None
    mouth: Tensor | None
    mouth_boxes: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How many clips may wait in `clips`, for whom, for how long; the voices are read from `voices`."""

    clips: Path
    voices: Path
    seed: int
    minutes: float
    focus: str
    limit: int
    device: torch.device


def to_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] -> uint8."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def to_values(pictures: Tensor) -> Tensor:
    """uint8 -> float in [-1, 1]."""
    return pictures.float() / 127.5 - 1


def render_shards(options: RenderOptions) -> None:
    """Draw shards in turn until the time is over, pausing while the folder is full."""
    options.clips.mkdir(parents=True, exist_ok=True)
    voices = load_voice_bank(options.voices, options.device)
    end = time.monotonic() + 60 * options.minutes
    number = 0
    while time.monotonic() < end:
        if len(list(options.clips.glob("*.pt"))) >= options.limit:
            time.sleep(0.5)
            continue
        shard = draw_shard(options, number, voices)
        partial = options.clips / f"{options.seed}_{number:06d}_{shard.shape}.partial"
        torch.save({name: getattr(shard, name) for name in Shard.__slots__}, partial)
        partial.rename(partial.with_suffix(".pt"))
        number += 1
        if number % 20 == 0:
            log.info("rendered %d shards", number)


def draw_shard(options: RenderOptions, number: int, voices: VoiceBank) -> Shard:
    """Shard `number` of the stream that the seed names."""
    generator = torch.Generator(options.device).manual_seed(options.seed * 1_000_003 + number)
    kinds = MIXES[options.focus]
    kind = kinds[number % len(kinds)]
    shape = FORMAT_ORDER[number // len(kinds) % len(FORMAT_ORDER)]
    form = FORMATS[shape]
    clips = make_clips(
        kind, form.clips, frames=form.frames, size=form.size, generator=generator, voices=voices
    )
    return pack(kind, shape, clips)


def pack(kind: str, shape: str, clips: Clips) -> Shard:
    """Clips as they go into a file: pictures in bytes, everything on the CPU."""
    return Shard(
        kind=kind,
        video=to_bytes(clips.video).cpu(),
        reference=to_bytes(clips.reference).cpu(),
        captions=list(clips.captions),
        shape=shape,
        waves=None if clips.waves is None else clips.waves.cpu(),
        mouth=None if clips.mouth is None else clips.mouth.cpu(),
        mouth_boxes=None if clips.mouth_boxes is None else clips.mouth_boxes.cpu(),
    )


class ShardReader:
    """The shards of a folder in the order they were drawn, each once; `shape` leaves out other formats."""

    def __init__(self, folder: Path, *, keep: bool, shape: str = "*") -> None:
        self.folder = folder
        self.pattern = f"*_{shape}.pt"
        self.keep = keep
        self.seen: set[str] = set()

    def take(self) -> Shard | None:
        """The next shard, or None when none is waiting."""
        for path in sorted(self.folder.glob(self.pattern)):
            if path.name not in self.seen:
                self.seen.add(path.name)
                shard = Shard(**torch.load(path, weights_only=True))
                if not self.keep:
                    path.unlink()
                return shard
        return None

    def wait(self) -> Shard:
        """The next shard, however long it takes."""
        while (shard := self.take()) is None:
            time.sleep(0.2)
        return shard
