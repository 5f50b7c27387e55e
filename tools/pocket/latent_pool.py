"""Clips as the transformer meets them: latents, picture, speech windows, caption, in video memory.

The first frame of a clip and its separate neutral picture give the two conditions of the application: either
the clip begins at the picture (one clean latent frame), or the picture is another moment of the character and
three clean latent frames lead in.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Wav2Vec2Model

from tools.pocket.clip_vae import ClipVae
from tools.pocket.dataset import AUDIO_MARGIN
from tools.pocket.shards import Shard, ShardReader, to_values
from tools.pocket.train_speech import speech_features, speech_windows
from tools.pocket.train_vae import box_mask
from wanvideo.models.text_encoder import PromptTokenizer

TEXT_ROWS = 80
FOLLOWING_SHARE = 0.5
FILE_START_SHARE = 0.3  # opening clips whose sound begins with the clip, as at the start of a file
MOUTH_WEIGHT = 6.0
MOTION_LATENTS = 3
REFRESH_SECONDS = 3.0
Item = dict[str, Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoders:
    """The frozen networks that turn a shard into what the pool holds."""

    vae: ClipVae
    speech: Wav2Vec2Model
    tokenizer: PromptTokenizer
    device: torch.device

    @torch.no_grad()
    def encode(self, shard: Shard) -> Item:
        """Shard -> tensors, one row per clip; `clean` is how many latent frames are given (1 or 3)."""
        count, frames = shard.video.shape[0], shard.video.shape[2]
        video = to_values(shard.video.to(self.device))
        latents = torch.cat([self._latents(part) for part in video.split(8)])
        item = {"latents": latents, "caption": self._captions(shard.captions)}
        if shard.kind == "shapes":
            return item
        following = torch.zeros(count, dtype=torch.bool, device=self.device)
        if shard.kind == "talk":
            following = torch.rand(count, device=self.device) < FOLLOWING_SHARE
        reference = to_values(shard.reference.to(self.device))
        picture = torch.where(following[:, None, None, None], reference, video[:, :, 0])
        item["condition"] = torch.cat([self._picture_latents(part, frames) for part in picture.split(8)])
        item["picture"] = ((picture + 1) * 127.5).round().to(torch.uint8)
        if shard.kind == "talk":
            item["clean"] = torch.where(following, MOTION_LATENTS, 1)
            item["speech"] = self._speech(shard, frames, following)
            item["weight"] = self._mouth_weight(shard, latents.shape[-1], video.shape[-1])
        return item

    def _latents(self, video: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.vae.encode(video).half()

    def _picture_latents(self, picture: Tensor, frames: int) -> Tensor:
        """Latents of the picture followed by frames of mid grey (0.0)."""
        grey = torch.zeros_like(picture)[:, :, None].expand(-1, -1, frames - 1, -1, -1)
        return self._latents(torch.cat([picture[:, :, None], grey], dim=2))

    def _captions(self, captions: list[str]) -> Tensor:
        rows = torch.zeros(len(captions), TEXT_ROWS, dtype=torch.int16)
        for index, caption in enumerate(captions):
            ids = self.tokenizer.encode(caption)[-TEXT_ROWS:]
            rows[index, : len(ids)] = torch.tensor(ids, dtype=torch.int16)
        return rows.to(self.device)

    def _speech(self, shard: Shard, frames: int, following: Tensor) -> Tensor:
        assert shard.waves is not None
        waves = shard.waves.to(self.device, torch.float32)
        total = frames + 2 * AUDIO_MARGIN
        windows = speech_windows(speech_features(self.speech, waves, total), AUDIO_MARGIN, frames)
        per_frame = waves.shape[-1] // total
        late = speech_features(self.speech, waves[:, AUDIO_MARGIN * per_frame :], total - AUDIO_MARGIN)
        at_start = ~following & (torch.rand(len(waves), device=self.device) < FILE_START_SHARE)
        return torch.where(
            at_start[:, None, None, None, None], speech_windows(late, 0, frames), windows
        ).half()

    @staticmethod
    def _mouth_weight(shard: Shard, latent_size: int, size: int) -> Tensor:
        assert shard.mouth_boxes is not None
        boxes = shard.mouth_boxes.float()
        inside = torch.nn.functional.adaptive_max_pool2d(box_mask(boxes, size)[:, None], latent_size)[:, 0]
        return 1 + (MOUTH_WEIGHT - 1) * inside


class LatentPool:
    """Rings of encoded clips, one per kind."""

    def __init__(self, folder: Path, encoders: Encoders, capacity: int) -> None:
        self.reader = ShardReader(folder, keep=False)
        self.encoders = encoders
        self.capacity = capacity
        self.refreshed = 0.0
        self.rings: dict[str, Item] = {}
        self.added: dict[str, int] = {}

    def fill(self, clips: int) -> None:
        """Wait until every kind has at least `clips` clips."""
        while min(self.added.get(kind, 0) for kind in ("talk", "motion", "shapes")) < clips:
            self._add(self.reader.wait())

    def refresh(self) -> None:
        """Take up one waiting shard, if there is one and the last one was a while ago."""
        if time.monotonic() - self.refreshed < REFRESH_SECONDS:
            return
        shard = self.reader.take()
        self.refreshed = time.monotonic()
        if shard is not None:
            self._add(shard)

    def sample(self, kind: str, batch: int) -> Item:
        """A random batch of one kind."""
        ring = self.rings[kind]
        filled = min(self.added[kind], self.capacity)
        chosen = torch.randint(filled, (batch,), device=ring["latents"].device)
        return {name: tensor[chosen] for name, tensor in ring.items()}

    def _add(self, shard: Shard) -> None:
        item = self.encoders.encode(shard)
        if shard.kind not in self.rings:
            self.rings[shard.kind] = {
                name: torch.zeros(
                    self.capacity, *value.shape[1:], dtype=value.dtype, device=self.encoders.device
                )
                for name, value in item.items()
            }
            self.added[shard.kind] = 0
        count, added = len(shard.captions), self.added[shard.kind]
        places = torch.arange(added, added + count, device=self.encoders.device) % self.capacity
        for name, value in item.items():
            self.rings[shard.kind][name][places] = value.to(self.encoders.device)
        self.added[shard.kind] += count
