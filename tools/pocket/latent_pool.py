"""Clips as the transformer meets them: latents, picture, speech windows, caption, in video memory.

The first frame of a clip and its separate neutral picture give the two conditions of the application: either
the clip begins at the picture (one clean latent frame), or the picture is another moment of the character and
three clean latent frames lead in.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import Wav2Vec2Model

from tools.pocket.clip_vae import ClipVae
from tools.pocket.dataset import AUDIO_MARGIN
from tools.pocket.shards import FORMATS, Shard, ShardReader, to_values
from tools.pocket.train_speech import speech_features, speech_windows
from tools.pocket.train_vae import box_mask
from wanvideo.models.text_encoder import PromptTokenizer

TEXT_ROWS = 80
FOLLOWING_SHARE = 0.5
END_SHARE = 0.35  # moving pictures whose last frame is given too
FILE_START_SHARE = 0.3  # opening clips whose sound begins with the clip, as at the start of a file
MOUTH_WEIGHT = 6.0
MOTION_LATENTS = 3
REFRESH_SECONDS = 1.5
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
        """Shard -> tensors, one row per clip.

        `clean` is how many latent frames are given (1 or 3); `ends` whether the condition holds the last
        frame too; `speech` has a dimension of speakers.
        """
        video = to_values(shard.video.to(self.device))
        item = {
            "latents": torch.cat([self._latents(part) for part in video.split(4)]),
            "caption": self._captions(shard.captions),
        }
        if shard.kind == "shapes":
            return item
        speaks = shard.waves is not None
        chance = torch.rand(2, len(video), device=self.device)
        following = (chance[0] < FOLLOWING_SHARE) & speaks
        ends = (chance[1] < END_SHARE) & (not speaks)
        reference = to_values(shard.reference.to(self.device))
        picture = torch.where(following[:, None, None, None], reference, video[:, :, 0])
        condition = torch.zeros_like(video)
        condition[:, :, 0] = picture
        condition[:, :, -1] = torch.where(ends[:, None, None, None], video[:, :, -1], 0.0)
        item["condition"] = torch.cat([self._latents(part) for part in condition.split(4)])
        item["picture"] = ((picture + 1) * 127.5).round().to(torch.uint8)
        item["ends"] = ends
        if speaks:
            item["clean"] = torch.where(following, MOTION_LATENTS, 1)
            item["speech"] = self._speech(shard, following)
            item["weight"] = self._mouth_weight(shard, item["latents"].shape[-1])
        return item

    def _latents(self, video: Tensor) -> Tensor:
        with torch.autocast(self.device.type, torch.bfloat16):
            return self.vae.encode(video).half()

    def _captions(self, captions: list[str]) -> Tensor:
        rows = torch.zeros(len(captions), TEXT_ROWS, dtype=torch.int16)
        for index, caption in enumerate(captions):
            ids = self.tokenizer.encode(caption)[-TEXT_ROWS:]
            rows[index, : len(ids)] = torch.tensor(ids, dtype=torch.int16)
        return rows.to(self.device)

    def _speech(self, shard: Shard, following: Tensor) -> Tensor:
        """(B, speakers, frames, 5, layers, channels)."""
        assert shard.waves is not None
        frames = shard.video.shape[2]
        waves = shard.waves.to(self.device, torch.float32)
        samples = waves.shape[-1]
        waves = waves.view(len(following), -1, samples)  # one speaker has no dimension of its own
        speakers, waves = waves.shape[1], waves.flatten(0, 1)
        total = frames + 2 * AUDIO_MARGIN
        windows = speech_windows(speech_features(self.speech, waves, total), AUDIO_MARGIN, frames)
        per_frame = samples // total
        late = speech_features(self.speech, waves[:, AUDIO_MARGIN * per_frame :], total - AUDIO_MARGIN)
        at_start = ~following & (torch.rand(len(following), device=self.device) < FILE_START_SHARE)
        at_start = at_start.repeat_interleave(speakers)[:, None, None, None, None]
        chosen = torch.where(at_start, speech_windows(late, 0, frames), windows)
        return chosen.half().unflatten(0, (-1, speakers))

    @staticmethod
    def _mouth_weight(shard: Shard, latent_size: int) -> Tensor:
        assert shard.mouth_boxes is not None
        boxes = shard.mouth_boxes.float().view(len(shard.captions), -1, 4)
        mouths = box_mask(boxes, shard.video.shape[-1]).amax(1, keepdim=True)
        inside = torch.nn.functional.adaptive_max_pool2d(mouths, latent_size)[:, 0]
        weight: Tensor = 1 + (MOUTH_WEIGHT - 1) * inside
        return weight


class LatentPool:
    """Rings of encoded clips, one per kind and format."""

    def __init__(self, folder: Path, encoders: Encoders, capacity: int) -> None:
        self.reader = ShardReader(folder, keep=False)
        self.encoders = encoders
        self.capacity = capacity
        self.refreshed = 0.0
        self.rings: dict[tuple[str, str], Item] = {}
        self.added: dict[tuple[str, str], int] = {}

    def fill(self, kinds: Iterable[str]) -> None:
        """Wait until every kind is there in every format."""
        wanted = {(kind, shape) for kind in kinds for shape in FORMATS}
        while not wanted <= self.added.keys():
            self._add(self.reader.wait())

    def refresh(self) -> None:
        """Take up one waiting shard, if there is one and the last one was a while ago."""
        if time.monotonic() - self.refreshed < REFRESH_SECONDS:
            return
        shard = self.reader.take()
        self.refreshed = time.monotonic()
        if shard is not None:
            self._add(shard)

    def sample(self, kind: str, shape: str, batch: int) -> Item:
        """A random batch of one kind and format."""
        ring = self.rings[kind, shape]
        chosen = torch.randint(self._filled(kind, shape), (batch,), device=ring["latents"].device)
        return {name: tensor[chosen] for name, tensor in ring.items()}

    def _filled(self, kind: str, shape: str) -> int:
        return min(self.added[kind, shape], self._room(shape))

    def _room(self, shape: str) -> int:
        """Clips that a ring of this format holds, in proportion to its shards."""
        return self.capacity * FORMATS[shape].clips // FORMATS["native"].clips

    def _add(self, shard: Shard) -> None:
        item = self.encoders.encode(shard)
        key = (shard.kind, shard.shape)
        room, device = self._room(shard.shape), self.encoders.device
        if key not in self.rings:
            self.rings[key] = {
                name: torch.zeros(room, *value.shape[1:], dtype=value.dtype, device=device)
                for name, value in item.items()
            }
            self.added[key] = 0
        count, added = len(shard.captions), self.added[key]
        places = torch.arange(added, added + count, device=device) % room
        for name, value in item.items():
            self.rings[key][name][places] = value.to(device)
        self.added[key] += count
