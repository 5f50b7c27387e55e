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
SHARD_CLIPS = 32
KINDS = ("talk", "shapes", "talk", "motion", "talk", "shapes")  # the mix, one shard each in turn
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """Clips of one kind, in bytes: video (B, 3, F, S, S), reference (B, 3, S, S); talk has sound."""

    kind: str
    video: Tensor
    reference: Tensor
    captions: list[str]
    waves: Tensor | None
    mouth: Tensor | None
    mouth_boxes: Tensor | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderOptions:
    """How many clips may wait in `clips`, at what size, for how long; the voices are read from `voices`."""

    clips: Path
    voices: Path
    seed: int
    minutes: float
    size: int
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
        if len(list(options.clips.glob("*.pt"))) * SHARD_CLIPS >= options.limit:
            time.sleep(0.5)
            continue
        kind = KINDS[number % len(KINDS)]
        shard = draw_shard(kind, options, number, voices)
        partial = options.clips / f"{options.seed}_{number:06d}.partial"
        torch.save({name: getattr(shard, name) for name in Shard.__slots__}, partial)
        partial.rename(partial.with_suffix(".pt"))
        number += 1
        if number % 20 == 0:
            log.info("rendered %d clips", number * SHARD_CLIPS)


def draw_shard(kind: str, options: RenderOptions, number: int, voices: VoiceBank) -> Shard:
    """Shard `number` of the stream that the seed names."""
    generator = torch.Generator(options.device).manual_seed(options.seed * 1_000_003 + number)
    clips = make_clips(
        kind, SHARD_CLIPS, frames=FRAMES, size=options.size, generator=generator, voices=voices
    )
    return pack(kind, clips)


def pack(kind: str, clips: Clips) -> Shard:
    """Clips as they go into a file: pictures in bytes, everything on the CPU."""
    return Shard(
        kind=kind,
        video=to_bytes(clips.video).cpu(),
        reference=to_bytes(clips.reference).cpu(),
        captions=list(clips.captions),
        waves=None if clips.waves is None else clips.waves.cpu(),
        mouth=None if clips.mouth is None else clips.mouth.cpu(),
        mouth_boxes=None if clips.mouth_boxes is None else clips.mouth_boxes.cpu(),
    )


class ShardReader:
    """The shards of a folder in the order they were drawn, each once."""

    def __init__(self, folder: Path, *, keep: bool) -> None:
        self.folder = folder
        self.keep = keep
        self.seen: set[str] = set()

    def take(self) -> Shard | None:
        """The next shard, or None when none is waiting."""
        for path in sorted(self.folder.glob("*.pt")):
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
