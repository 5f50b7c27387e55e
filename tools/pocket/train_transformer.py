"""Training both transformers with the text and picture encoders; batches of three kinds take turns."""

import logging
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tools.pocket.clip_vae import ClipVae
from tools.pocket.components import build_speech_encoder, build_vae, load_component
from tools.pocket.conditions import PocketModel
from tools.pocket.latent_pool import Encoders, Item, LatentPool
from tools.pocket.muon import Muon
from tools.pocket.objective import Objective
from tools.pocket.parallel import GradientSum, SharedClock, Worker
from tools.pocket.shards import FORMATS, MIXES, Format
from tools.pocket.tokenizer import find_tokenizer
from tools.pocket.training_run import Average, Box, Report, StageOptions, adamw
from wanvideo.defaults import NEGATIVE_CHINESE, NEGATIVE_ENGLISH
from wanvideo.geometry import latent_frames
from wanvideo.models.text_encoder import PromptTokenizer

# The kinds of batches a process takes in turn. With several processes the even ones train the text
# transformer and the odd ones the other, each two of those half a round apart.
ORDERS = {
    "all": ("talk", "text", "pair", "text", "motion", "text"),
    "text": ("text",),
    "picture": ("talk", "pair", "motion"),
}
FORMAT_ORDER = ("native", "native", "native", "long", "native", "native", "native", "large")
# Text to video begins with the first frames of clips, which are pictures and short clips of their own:
# (share of the time, latent frames; None: the whole clip).
TEXT_LENGTHS = ((0.3, 1), (0.15, 3), (0.55, None))
TEXT_KINDS = ("shapes", "talk", "shapes", "motion")  # what text-to-video batches show
TEXT_BATCH = 2  # the text transformer's batches are this much larger
SNAPSHOT_SECONDS = 90.0
POOL_CLIPS = 8000
log = logging.getLogger("pocket")


@dataclass(slots=True, kw_only=True)
class TransformerTraining:
    """A run: model, averaged weights, pool, optimizers; `focus` is what this process trains."""

    model: PocketModel
    average: Average
    objective: Objective
    pool: LatentPool
    optimizers: list[torch.optim.Optimizer]
    gradients: GradientSum
    options: StageOptions
    focus: str
    saved: float = field(default_factory=time.monotonic)

    def run(self, seconds: float) -> None:
        """Steps until the time is over, with a snapshot every one and a half minutes."""
        worker = self.options.worker
        clock = SharedClock(worker, self.options.device)
        clock.tick()
        box = Box(seconds=seconds, clock=clock)
        report = Report(f"transformer {self.focus}")
        while not box.over:
            clock.tick()
            kind, loss = self._step(box)
            report.add({kind: loss})
            box.advance(self.optimizers)
            report.show(box)
            if worker.leads and time.monotonic() - self.saved > SNAPSHOT_SECONDS:
                self.save()
        if worker.leads:
            self.save()

    def _step(self, box: Box) -> tuple[str, Tensor]:
        self.pool.refresh()
        order = ORDERS[self.focus]
        turn = box.step + self.options.worker.rank // 2  # two processes of one focus are not in step
        kind = order[turn % len(order)]
        shape = FORMAT_ORDER[turn // len(order) % len(FORMAT_ORDER)]
        if kind == "text":
            item = self._text_batch(turn // len(order), shape, box.progress)
        else:
            item = self.pool.sample(kind, shape, batch_size(self.options.batch, FORMATS[shape]))
        with torch.autocast(item["latents"].device.type, torch.bfloat16):
            loss = self.objective.loss(kind, item)
        self.gradients.clear()
        loss.backward()
        self.gradients.add_up()
        nn.utils.clip_grad_norm_(trained(self.model), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
        if self.options.worker.leads:
            self.average.update()
        return f"{kind} {shape}", loss

    def _text_batch(self, turn: int, shape: str, progress: float) -> Item:
        kind = TEXT_KINDS[turn % len(TEXT_KINDS)]
        length = text_length(progress) if self.focus == "text" else None
        batch = batch_size(TEXT_BATCH * self.options.batch, FORMATS[shape], length)
        item = self.pool.sample(kind, shape, batch)
        return item if length is None else item | {"latents": item["latents"][:, :, :length]}

    def save(self) -> None:
        """Averaged weights to files."""
        self.average.swap()
        self.model.save(self.options.out)
        self.average.swap()
        self.saved = time.monotonic()
        log.info("transformer saved; clips taken up %s", self.pool.added)


def text_length(progress: float) -> int | None:
    """Latent frames of the text batches at this part of the time."""
    end = 0.0
    for share, frames in TEXT_LENGTHS:
        end += share
        if progress < end:
            return frames
    return TEXT_LENGTHS[-1][1]


def batch_size(native: int, form: Format, length: int | None = None) -> int:
    """Clips with as many tokens as `native` clips of the native format; `length` in latent frames."""
    base = FORMATS["native"]
    frames = latent_frames(form.frames) if length is None else length
    return max(1, round(native * latent_frames(base.frames) * base.size**2 / (frames * form.size**2)))


def train_transformer(options: StageOptions) -> None:
    """Train within the time; pocket_vae and pocket_wav2vec2 must be in `out` or `resume`."""
    torch.manual_seed(options.seed)
    focus = options.focus
    if options.worker.count > 1:
        focus = ("text", "picture")[options.worker.rank % 2]
    encoders = load_encoders(options)
    model = PocketModel().to(options.device)
    initialise(model)
    if options.resume is not None:
        model.load(options.resume)
    if options.focus == "text":  # what the other transformer relies on stays as it is
        model.requires_grad_(False)
        model.t2v.requires_grad_(True)
    options.worker.share(list(model.parameters()))
    if options.device.type == "cuda":
        for transformer in (model.i2v, model.t2v):
            for block in transformer.blocks:
                block.compile(dynamic=True)  # many shapes, few compilations
    torch.manual_seed(options.seed + 1000 * options.worker.rank)
    several = options.worker.count > 1  # each process has a renderer of its own
    clips = options.clips / str(options.worker.rank) if several else options.clips
    pool = LatentPool(clips, encoders, POOL_CLIPS)
    pool.fill(set(MIXES[focus]))
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
        gradients=GradientSum(options.worker, trained(model), contributors(model, options.worker)),
        options=options,
        focus=focus,
    )
    run.run(60 * options.minutes)


def trained(model: PocketModel) -> list[nn.Parameter]:
    """What gets gradients."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def contributors(model: PocketModel, worker: Worker) -> list[int]:
    """How many processes train each of `trained`: even ones the text transformer, odd ones the rest."""
    text = (worker.count + 1) // 2
    counts = {"t2v": text, "text": worker.count}
    rest = max(1, worker.count - text)
    return [
        counts.get(name.split(".")[0], rest)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    ]


def load_encoders(options: StageOptions) -> Encoders:
    """The frozen autoencoder, speech encoder and tokenizer; so is the tokenizer, made when there is none."""
    vae, speech = build_vae(), build_speech_encoder().eval()
    for module, name in ((vae, "pocket_vae"), (speech, "pocket_wav2vec2")):
        folders = [folder for folder in (options.out, options.resume) if folder is not None]
        if not any(load_component(module, folder, name) for folder in folders):
            raise FileNotFoundError(f"{name}.safetensors is in none of {folders}; train it first")
    pieces = find_tokenizer(options.out, options.resume, options.seed)
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
