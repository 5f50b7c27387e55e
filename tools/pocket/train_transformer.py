"""Training both transformers with the text and picture encoders; batches of three kinds take turns."""

import logging
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.pocket.clip_vae import ClipVae
from tools.pocket.components import build_speech_encoder, build_vae, load_component
from tools.pocket.conditions import PocketModel
from tools.pocket.latent_pool import Encoders, Item, LatentPool
from tools.pocket.muon import Muon
from tools.pocket.objective import Objective
from tools.pocket.tokenizer import train_tokenizer
from tools.pocket.training_run import Average, Box, Report, StageOptions, adamw
from wanvideo.defaults import NEGATIVE_CHINESE, NEGATIVE_ENGLISH
from wanvideo.models.text_encoder import PromptTokenizer

ORDERS = {
    "all": ("talk", "text", "talk", "motion", "text", "talk", "text"),  # one batch each in turn
    "text": ("text",),
}
# Text to video alone begins with the first frames of clips, which are pictures and short clips of their own:
# (share of the time, latent frames).
TEXT_LENGTHS = ((0.4, 1), (0.2, 3), (0.4, 9))
TEXT_KINDS = ("shapes", "shapes", "talk", "motion")  # what text-to-video batches show, in equal shares
SNAPSHOT_SECONDS = 90.0
POOL_CLIPS = 8000
START_CLIPS = 256
log = logging.getLogger("pocket")


@dataclass(slots=True, kw_only=True)
class TransformerTraining:
    """A run: model, averaged weights, pool, optimizers."""

    model: PocketModel
    average: Average
    objective: Objective
    pool: LatentPool
    optimizers: list[torch.optim.Optimizer]
    out: Path
    batch: int
    focus: str
    saved: float = field(default_factory=time.monotonic)

    def run(self, box: Box) -> None:
        """Steps until the time is over, with a snapshot every one and a half minutes."""
        report = Report("transformer")
        order = ORDERS[self.focus]
        while not box.over:
            kind = order[box.step % len(order)]
            report.add({kind: self._step(kind, box)})
            box.advance(self.optimizers)
            report.show(box)
            if time.monotonic() - self.saved > SNAPSHOT_SECONDS:
                self.save()
        self.save()

    def _step(self, kind: str, box: Box) -> Tensor:
        self.pool.refresh()
        item = self._text_batch(box) if kind == "text" else self.pool.sample(kind, self.batch)
        with torch.autocast(item["latents"].device.type, torch.bfloat16):
            loss = self.objective.loss(kind, item)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_([p for p in self.model.parameters() if p.grad is not None], 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        self.average.update()
        return loss

    def _text_batch(self, box: Box) -> Item:
        kind = TEXT_KINDS[(box.step // len(ORDERS[self.focus])) % len(TEXT_KINDS)]
        if self.focus == "all":
            return self.pool.sample(kind, self.batch)
        frames = text_length(box.progress)
        item = self.pool.sample(kind, self.batch * TEXT_LENGTHS[-1][1] // frames)
        return item | {"latents": item["latents"][:, :, :frames]}

    def save(self) -> None:
        """Averaged weights to files."""
        self.average.swap()
        self.model.save(self.out)
        self.average.swap()
        self.saved = time.monotonic()
        clips = {kind: min(count, self.pool.capacity) for kind, count in self.pool.added.items()}
        log.info("transformer saved; pool %s", clips)


def text_length(progress: float) -> int:
    """Latent frames of the text batches at this part of the time."""
    end = 0.0
    for share, frames in TEXT_LENGTHS:
        end += share
        if progress < end:
            return frames
    return TEXT_LENGTHS[-1][1]


def train_transformer(options: StageOptions) -> None:
    """Train within the time; pocket_vae and pocket_wav2vec2 must be in `out` or `resume`."""
    torch.manual_seed(options.seed)
    encoders = load_encoders(options)
    model = PocketModel().to(options.device)
    initialise(model)
    if options.resume is not None:
        model.load(options.resume)
    if options.focus == "text":  # what the other transformer relies on stays as it is
        model.requires_grad_(False)
        model.t2v.requires_grad_(True)
    if options.device.type == "cuda":
        for transformer in (model.i2v, model.t2v):
            for block in transformer.blocks:
                block.compile(dynamic=False)
    pool = LatentPool(options.clips, encoders, POOL_CLIPS)
    pool.fill(START_CLIPS)
    prompts = [
        torch.tensor([encoders.tokenizer.encode(text)], device=options.device)
        for text in ("", NEGATIVE_ENGLISH, "", NEGATIVE_CHINESE)
    ]
    run = TransformerTraining(
        model=model,
        average=Average(model),
        objective=Objective(model=model, no_prompts=prompts),
        pool=pool,
        optimizers=build_optimizers(model),
        out=options.out,
        batch=options.batch,
        focus=options.focus,
    )
    run.run(Box(seconds=60 * options.minutes))


def load_encoders(options: StageOptions) -> Encoders:
    """The frozen autoencoder, speech encoder and tokenizer; the tokenizer is made when there is none."""
    vae, speech = build_vae(), build_speech_encoder().eval()
    for module, name in ((vae, "pocket_vae"), (speech, "pocket_wav2vec2")):
        folders = [folder for folder in (options.out, options.resume) if folder is not None]
        if not any(load_component(module, folder, name) for folder in folders):
            raise FileNotFoundError(f"{name}.safetensors is in none of {folders}; train it first")
    pieces = options.out / "spiece.model"
    if not pieces.exists():
        train_tokenizer(pieces, options.seed)
    return Encoders(
        vae=ClipVae(vae.requires_grad_(False)).to(options.device),
        speech=speech.to(options.device).requires_grad_(False),
        tokenizer=PromptTokenizer.from_file(pieces),
        device=options.device,
    )


@torch.no_grad()
def initialise(model: PocketModel) -> None:
    """Start gently: no output yet, small cross-attention, half-open gates."""
    for transformer in (model.i2v, model.t2v):
        for name, parameter in transformer.named_parameters():
            if name.startswith("proj_out"):
                parameter.zero_()
            elif name.endswith("condition_embedder.time_proj.weight"):
                parameter.mul_(0.5)
            elif name.endswith(("attn2.to_out.0.weight", "audio_cross_attn.proj.weight")):
                parameter.mul_(0.2)
            elif name.startswith("blocks") and name.endswith("scale_shift_table"):
                parameter[:, [2, 5]] = 0.5


def build_optimizers(model: PocketModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices inside the transformers, AdamW for everything else."""
    inner: list[nn.Parameter] = []
    outer: list[nn.Parameter] = []
    for name, parameter in [*model.i2v.named_parameters(), *model.t2v.named_parameters()]:
        if not parameter.requires_grad:
            continue
        inside = name.startswith(("blocks.", "audio_proj.")) and parameter.dim() == 2
        (inner if inside else outer).append(parameter)
    encoders = [p for p in [*model.text.parameters(), *model.image.parameters()] if p.requires_grad]
    return [Muon(inner, lr=0.02), adamw([(outer, 1e-3), (encoders, 5e-4)])]
