"""Training the judge on clips that are drawn beside it, all the time, and its held-out figures.

Half of the clips pass through the pocket autoencoder, if there is one, and all are blurred, tinted, moved and
made noisy at random: the judge is to be right on clips that a model made, never as clean as drawings.
"""

import json
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.pocket.clip_vae import ClipVae
from tools.pocket.components import build_vae, load_component
from tools.pocket.dataset import make_clips
from tools.pocket.evaluate import SEED
from tools.pocket.judge import FRAMES, HEADS, SIZE, UNKNOWN, Judge, labels, load_judge, save_judge, small_form
from tools.pocket.named import shares
from tools.pocket.shards import FRAMES as DRAWN_FRAMES
from tools.pocket.shards import to_bytes, to_values
from tools.pocket.training_run import Average, Box, Report, StageOptions, adamw

FILE, FIGURES_FILE = "judge.safetensors", "judge_figures.json"
# Shares of the kinds of clips, in quarters.
MIX = {"shapes": 2, "motion": 1, "talk": 1}
DRAW_SHARE = 0.4  # of the time
RATE = 2e-3
COLOUR_SHIFT = 0.06  # of values in [-1, 1]
log = logging.getLogger("pocket")
F = nn.functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """Pixels of a drawn side, and how many clips: at a time, before the start, at most held, held out."""

    size: int
    drawn: int
    first: int
    held: int
    held_out: int


AMOUNTS = {
    "cuda": Amounts(size=96, drawn=128, first=1024, held=16_384, held_out=1024),
    "cpu": Amounts(size=64, drawn=16, first=64, held=1024, held_out=96),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """Clips in the small form (B, 3, FRAMES, SIZE, SIZE), their labels (B, heads) and captions."""

    video: Tensor
    truth: Tensor
    captions: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Painter:
    """Fresh clips on the generator's device, with or without an autoencoder's losses."""

    generator: torch.Generator
    size: int
    vae: ClipVae | None

    @torch.no_grad()
    def draw(self, count: int, coded: bool | None = None) -> Examples:
        """About `count` clips of all kinds, at least two of each.

        `coded` says whether they pass through the autoencoder, if there is one; None: every second one does.
        """
        parts, truths, captions = [], [], []
        for kind, share in MIX.items():
            number = max(2, share * count // sum(MIX.values()))
            clips = make_clips(kind, number, frames=DRAWN_FRAMES, size=self.size, generator=self.generator)
            parts.append(small_form(self._coded(clips.video, coded)))
            truths.append(labels(clips.looks, clips.acts).to(clips.video.device))
            captions += clips.captions
        return Examples(video=torch.cat(parts), truth=torch.cat(truths), captions=captions)

    def _coded(self, video: Tensor, coded: bool | None) -> Tensor:
        if self.vae is None or coded is False:
            return video
        if coded:
            return coded_clips(self.vae, video)
        mixed = video.clone()
        mixed[::2] = coded_clips(self.vae, video[::2])
        return mixed


class JudgePool:
    """A ring of clips in the small form as bytes, with their labels, on one device."""

    def __init__(self, capacity: int, device: torch.device) -> None:
        shape = (capacity, 3, FRAMES, SIZE, SIZE)
        self.video = torch.empty(shape, dtype=torch.uint8, device=device)
        self.truth = torch.full((capacity, len(HEADS)), UNKNOWN, device=device)
        self.added = 0

    def add(self, new: Examples) -> None:
        """New clips take the place of the oldest."""
        count, device = len(new.video), self.video.device
        places = torch.arange(self.added, self.added + count, device=device) % len(self.video)
        self.video[places] = to_bytes(new.video)
        self.truth[places] = new.truth
        self.added += count

    def sample(self, batch: int) -> tuple[Tensor, Tensor]:
        """Clips (batch, 3, FRAMES, SIZE, SIZE) in [-1, 1] and labels (batch, heads)."""
        chosen = torch.randint(min(self.added, len(self.video)), (batch,), device=self.video.device)
        return to_values(self.video[chosen]), self.truth[chosen]


def coded_clips(vae: ClipVae, video: Tensor) -> Tensor:
    """Clips (B, 3, 4n + 1, S, S) as the autoencoder gives them back."""
    with torch.autocast(video.device.type, torch.bfloat16):
        return torch.cat([vae.decode(vae.encode(part)) for part in video.split(16)])


def spoiled(video: Tensor) -> Tensor:
    """Clips (B, 3, F, S, S), each a little moved, blurred, tinted and noisy, by amounts of its own."""
    batch, _, frames, size, _ = video.shape
    pictures = _moved(video.transpose(1, 2).flatten(0, 1), batch, frames)
    for _ in range(2):
        line = F.avg_pool2d(F.pad(pictures, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        share = 0.8 * torch.rand(batch, device=video.device).square()
        pictures = pictures.lerp(line, share.repeat_interleave(frames)[:, None, None, None])
    clips = pictures.unflatten(0, (batch, frames)).transpose(1, 2)
    amount = torch.rand(3, batch, 1, 1, 1, 1, device=video.device)
    tint = COLOUR_SHIFT * (2 * torch.rand(batch, 3, 1, 1, 1, device=video.device) - 1)
    coarse = torch.randn(batch * frames, 3, size // 8, size // 8, device=video.device)
    clouds = F.interpolate(coarse, size=size, mode="bilinear").unflatten(0, (batch, frames)).transpose(1, 2)
    noise = 0.08 * amount[0].square() * torch.randn_like(clips) + 0.08 * amount[1].square() * clouds
    result: Tensor = clips * (1 + 0.08 * (amount[2] - 0.5)) + tint + noise
    return result.clamp(-1, 1)


def judge_loss(logits: Mapping[str, Tensor], truth: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Sum of the heads' mean cross-entropies over the clips that they apply to, and each of them."""
    losses = {}
    for index, (name, values) in enumerate(logits.items()):
        right = truth[:, index]
        total = F.cross_entropy(values.float(), right, ignore_index=UNKNOWN, reduction="sum")
        losses[name] = total / (right != UNKNOWN).sum().clamp_min(1)
    return torch.stack(list(losses.values())).sum(), losses


def train_judge(options: StageOptions) -> None:
    """Train within the time, then save the averaged weights as `FILE` and their held-out figures beside it.

    The clock starts when the first clips are drawn. Batches of 128 suit a large card.
    """
    torch.manual_seed(options.seed)
    amounts = AMOUNTS.get(options.device.type, AMOUNTS["cpu"])
    painter = Painter(
        generator=torch.Generator(options.device).manual_seed(options.seed),
        size=amounts.size,
        vae=_autoencoder(options),
    )
    pool = JudgePool(amounts.held, options.device)
    while pool.added < amounts.first:
        pool.add(painter.draw(amounts.drawn))
    model = Judge().to(options.device)
    average = Average(model)
    steps = _train(model, average, pool, painter, options)
    average.swap()
    save_judge(model, options.out / FILE)
    figures = measure(load_judge(options.out / FILE).to(options.device), painter, amounts.held_out)
    figures |= {"steps": steps, "clips": pool.added, "parameters": sum(p.numel() for p in model.parameters())}
    (options.out / FIGURES_FILE).write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def _train(model: Judge, average: Average, pool: JudgePool, painter: Painter, options: StageOptions) -> int:
    """Spend the time -> number of steps."""
    drawn = AMOUNTS.get(options.device.type, AMOUNTS["cpu"]).drawn
    optimizer = adamw([(list(model.parameters()), RATE)], weight_decay=0.02)
    box, report = Box(seconds=60 * options.minutes), Report("judge")
    drawing = 0.0
    while not box.over:
        if drawing < DRAW_SHARE * box.progress * box.seconds:
            started = time.monotonic()
            pool.add(painter.draw(drawn))
            drawing += time.monotonic() - started
        video, truth = pool.sample(options.batch)
        video = spoiled(video)  # in full precision: a sampling grid needs it
        with torch.autocast(options.device.type, torch.bfloat16, enabled=options.device.type == "cuda"):
            loss, losses = judge_loss(model(video), truth)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update()
        box.advance([optimizer])
        report.add({"loss": loss, **losses})
        report.show(box)
    report.show(box, now=True)
    return box.step


@torch.no_grad()
def measure(model: Judge, painter: Painter, count: int) -> dict[str, object]:
    """Held-out accuracies, of drawn clips and (with an autoencoder) of coded ones.

    "drawn" and "autoencoder" hold shares by head; "ceiling drawn" and "ceiling autoencoder" the agreement of
    clips with captions that are true of them. "subject" and "motion" hold shares by word and "mistakes"
    those of "said for truth" among the truth's clips, all three on drawn clips.
    """
    generator = torch.Generator(painter.generator.device).manual_seed(SEED)
    held_out = Painter(generator=generator, size=painter.size, vae=painter.vae)
    figures: dict[str, object] = {}
    for name, coded in (("autoencoder", True), ("drawn", False)):
        if coded and painter.vae is None:
            continue
        clips = held_out.draw(count, coded)
        said = answers(model, clips.video)
        figures[name] = accuracies(said, clips.truth)
        figures[f"ceiling {name}"] = shares(clips.captions, model.judge(clips.video))
    mistakes: dict[str, float] = {}
    for name in ("subject", "motion"):
        right, wrong = word_accuracies(said, clips.truth, name)
        figures[name] = right
        mistakes |= wrong
    figures["mistakes"] = dict(sorted(mistakes.items(), key=lambda item: -item[1])[:16])
    for name, value in figures.items():
        log.info("judge held-out: %s %s", name, value)
    return figures | {"held out": len(clips.captions)}


def answers(model: Judge, video: Tensor) -> Tensor:
    """The likeliest word of every head -> (B, heads)."""
    parts = [torch.stack([row.argmax(-1) for row in model(part).values()], -1) for part in video.split(64)]
    return torch.cat(parts)


def accuracies(said: Tensor, truth: Tensor) -> dict[str, float]:
    """The share of right words by head, over the clips that it applies to; heads of no clip are left out."""
    applies = truth != UNKNOWN
    right = ((said == truth) & applies).sum(0).tolist()
    counts = applies.sum(0).tolist()
    return {name: round(right[index] / counts[index], 4) for index, name in enumerate(HEADS) if counts[index]}


def word_accuracies(said: Tensor, truth: Tensor, head: str) -> tuple[dict[str, float], dict[str, float]]:
    """({word: share of its clips that are judged right}, {"said for truth": share of the truth's clips})."""
    index, words = list(HEADS).index(head), HEADS[head]
    applies = truth[:, index] != UNKNOWN
    pairs = truth[applies, index] * len(words) + said[applies, index]
    table = torch.bincount(pairs, minlength=len(words) ** 2).view(len(words), -1).cpu()
    right: dict[str, float] = {}
    wrong: dict[str, float] = {}
    for row, counts in enumerate(table.tolist()):
        total = max(1, sum(counts))
        if sum(counts):
            right[words[row]] = round(counts[row] / total, 4)
        wrong |= {
            f"{words[other]} for {words[row]}": round(times / total, 4)
            for other, times in enumerate(counts)
            if times and other != row
        }
    return right, wrong


def _autoencoder(options: StageOptions) -> ClipVae | None:
    folders: list[Path] = [folder for folder in (options.resume, options.out) if folder is not None]
    vae = build_vae()
    for folder in folders:
        if load_component(vae, folder, "pocket_vae"):
            return ClipVae(vae.to(options.device).eval().requires_grad_(False)).to(options.device)
    log.info("judge: no pocket_vae in %s, drawn clips alone", folders)
    return None


def _moved(pictures: Tensor, batch: int, frames: int) -> Tensor:
    """Each clip's pictures (B * F, 3, S, S) moved by up to 4 % and scaled by up to 6 %, edges repeated."""
    random = 2 * torch.rand(batch, 3, device=pictures.device) - 1
    theta = torch.zeros(batch, 2, 3, device=pictures.device)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 + 0.06 * random[:, 0]
    theta[:, :, 2] = 0.08 * random[:, 1:]
    grid = F.affine_grid(theta.repeat_interleave(frames, 0), list(pictures.shape), align_corners=False)
    return F.grid_sample(pictures, grid, padding_mode="border", align_corners=False)
