"""Training the video autoencoder: pictures first, then clips of 9, 17 and 33 frames.

A picture is exactly the first causal chunk of a clip, so what pictures teach (which is most of it) is kept.
"""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.pocket.clip_vae import ClipVae
from tools.pocket.components import build_vae, load_component, save_component
from tools.pocket.shards import Shard, ShardReader, to_values
from tools.pocket.training_run import Average, Box, Report, StageOptions, adamw, psnr
from tools.pocket.vae_start import fold_latent_scale, initialise_for_pictures

HELD_OUT = 16
MOST_SPEAKERS = 2
POOL_CLIPS = 2400
REFRESH_SECONDS = 0.6
SNAPSHOT_SECONDS = 60.0
MOUTH_WEIGHT = 4.0
KL_WEIGHT = 1e-4
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Part of the time spent on batches of `batch` clips of `frames` frames, cut to `crop` pixels."""

    frames: int
    batch: int
    crop: int
    share: float


PICTURES = (Phase(frames=1, batch=64, crop=192, share=1.0),)
CLIPS = (
    Phase(frames=9, batch=8, crop=192, share=0.25),
    Phase(frames=17, batch=8, crop=128, share=0.25),
    Phase(frames=33, batch=8, crop=96, share=0.25),
    Phase(frames=33, batch=3, crop=192, share=0.25),
)
PICTURE_SHARE = 0.22


class PixelPool:
    """Clips in video memory as bytes; new ones take the place of the oldest."""

    def __init__(self, folder: Path, device: torch.device, capacity: int) -> None:
        self.reader = ShardReader(folder, keep=True, shape="native")
        self.device = device
        self.capacity = capacity
        first = self.reader.wait()
        self.video = torch.empty((capacity, *first.video.shape[1:]), dtype=torch.uint8, device=device)
        self.boxes = torch.zeros(capacity, MOST_SPEAKERS, 4, device=device)
        self.added = 0
        self.refreshed = 0.0
        self.add(first)

    def refresh(self) -> None:
        """Take up one waiting shard, if there is one and the last one was a while ago."""
        if time.monotonic() - self.refreshed < REFRESH_SECONDS:
            return
        shard = self.reader.take()
        self.refreshed = time.monotonic()
        if shard is not None:
            self.add(shard)

    def add(self, shard: Shard) -> None:
        count = len(shard.video)
        places = torch.arange(self.added, self.added + count, device=self.device) % self.capacity
        self.video[places] = shard.video.to(self.device)
        self.boxes[places] = 0.0
        if shard.mouth_boxes is not None:
            boxes = shard.mouth_boxes.to(self.device, torch.float32).view(count, -1, 4)
            self.boxes[places, : boxes.shape[1]] = boxes
        self.added += count

    def sample(self, phase: Phase) -> tuple[Tensor, Tensor]:
        """Video (B, 3, f, crop, crop) in [-1, 1] and the weight of each pixel (B, 1, 1, crop, crop)."""
        size, length = self.video.shape[-1], self.video.shape[2]
        filled = min(self.added, self.capacity)
        chosen = torch.randint(HELD_OUT, filled, (phase.batch,), device=self.device)
        crop = min(phase.crop, size)
        start = int(torch.randint(length - phase.frames + 1, ()))
        top, left = (int(value) for value in torch.randint(size - crop + 1, (2,)) // 8 * 8)
        window = self.video[:, :, start : start + phase.frames, top : top + crop, left : left + crop]
        weight = 1 + (MOUTH_WEIGHT - 1) * box_mask(self.boxes[chosen], size).amax(1)
        return to_values(window[chosen]), weight[:, None, None, top : top + crop, left : left + crop]


def box_mask(boxes: Tensor, size: int) -> Tensor:
    """Boxes (..., 4) of x0, y0, x1, y1 in pixels -> 1 inside, 0 outside, (..., size, size)."""
    line = torch.arange(size, device=boxes.device) + 0.5
    x0, y0, x1, y1 = boxes[..., None].unbind(-2)
    inside_x = (line >= x0) & (line <= x1)
    inside_y = (line >= y0) & (line <= y1)
    return (inside_y[..., :, None] & inside_x[..., None, :]).float()


def reconstruction_loss(
    model: ClipVae, video: Tensor, weight: Tensor, sharpness: float
) -> tuple[Tensor, Tensor]:
    """(loss, mean squared error). `sharpness` in 0..1 ramps in the loss on differences of neighbours."""
    mean, log_variance = model.posterior(video)
    latents = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    error = model.reconstruct(latents) - video
    squared = error.square().mean()
    differences = [error.diff(dim=axis, append=error.narrow(axis, -1, 1)) for axis in (2, 3, 4)]
    edges = sum((weight * difference).abs().mean() for difference in differences)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
    total = (weight * error.abs()).mean() + 2 * squared + 0.5 * sharpness * edges + KL_WEIGHT * divergence
    return total, squared


def train_vae(options: StageOptions) -> None:
    """Train within the time, then fold the latents' scale into the weights and save pocket_vae."""
    torch.manual_seed(options.seed)
    vae = build_vae().to(options.device)
    resumed = options.resume is not None and load_component(vae, options.resume, "pocket_vae")
    if not resumed:
        initialise_for_pictures(vae)
    pool = PixelPool(options.clips, options.device, POOL_CLIPS)
    while pool.added < 8 * HELD_OUT:
        pool.add(pool.reader.wait())
    training = VaeTraining(model=ClipVae(vae), average=Average(vae, 0.998), pool=pool, out=options.out)
    seconds = 60 * options.minutes
    if resumed:
        training.run(CLIPS, Box(seconds=seconds), 4e-4)
    else:
        training.run(PICTURES, Box(seconds=PICTURE_SHARE * seconds, floor=0.1), 1.5e-3)
        training.run(CLIPS, Box(seconds=(1 - PICTURE_SHARE) * seconds), 8e-4)
    training.save()


@dataclass(slots=True, kw_only=True)
class VaeTraining:
    """A run: the model, its averaged weights, the clips, and where snapshots go."""

    model: ClipVae
    average: Average
    pool: PixelPool
    out: Path
    saved: float = field(default_factory=time.monotonic)

    def run(self, phases: tuple[Phase, ...], box: Box, rate: float) -> None:
        """Spend the box's time on the phases by their shares."""
        optimizer = adamw([(list(self.model.parameters()), rate)], weight_decay=1e-4)
        report = Report("vae")
        ends = [sum(phase.share for phase in phases[: index + 1]) for index in range(len(phases))]
        while not box.over:
            phase = next(phase for phase, end in zip(phases, ends, strict=True) if box.progress < end + 1e-9)
            figures = self._step(
                phase, optimizer, sharpness=min(1.0, 3 * box.progress) if phases is PICTURES else 1.0
            )
            box.advance([optimizer])
            if box.step == 1:  # kernels are compiled in the first step
                box.started = time.monotonic()
            report.add(figures | {"frames": float(phase.frames)})
            report.show(box)
            if time.monotonic() - self.saved > SNAPSHOT_SECONDS:
                self.save()

    def _step(self, phase: Phase, optimizer: torch.optim.Optimizer, sharpness: float) -> dict[str, Tensor]:
        self.pool.refresh()
        video, weight = self.pool.sample(phase)
        with torch.autocast(video.device.type, torch.bfloat16):
            loss, squared = reconstruction_loss(self.model, video, weight, sharpness)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        optimizer.step()
        self.average.update()
        return {"loss": loss, "db": -10 * (squared / 4).log10()}

    def save(self) -> None:
        """Averaged weights with folded latents to a file; logs the held-out figures of frames and clips."""
        self.average.swap()
        held_out = to_values(self.pool.video[:HELD_OUT])
        for frames in (1, held_out.shape[2]):
            log.info(
                "vae held-out, %d frames: %.2f dB",
                frames,
                reconstruction_psnr(self.model, held_out[:, :, :frames]),
            )
        folded = build_vae().to(held_out.device)
        folded.load_state_dict(self.model.vae.state_dict())
        fold_latent_scale(folded, *latent_scale(self.model, to_values(self.pool.video[: 4 * HELD_OUT])))
        save_component(self.out, "pocket_vae", folded.state_dict())
        self.average.swap()
        self.saved = time.monotonic()


@torch.no_grad()
def reconstruction_psnr(model: ClipVae, video: Tensor) -> float:
    """PSNR in dB of videos (B, 3, F, S, S) against what the autoencoder makes of them."""
    figures = []
    for clip in video.split(4):
        with torch.autocast(video.device.type, torch.bfloat16):
            figures.append(psnr(model.reconstruct(model.posterior(clip)[0]).clamp(-1, 1), clip))
    return sum(figures) / len(figures)


@torch.no_grad()
def latent_scale(model: ClipVae, video: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel over some clips."""
    latents = torch.cat([model.posterior(clip)[0] for clip in video.split(4)])
    return latents.mean((0, 2, 3, 4)), latents.std((0, 2, 3, 4))
