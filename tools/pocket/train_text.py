"""Teaching the text encoder the order of words: the features of each token are to tell the tokens around it.

Through a whole video model alone an encoder stays a bag of words ("a red ball on a blue wall" is "a blue
ball on a red wall"): its attention gets hardly any gradient. Here it learns first, from captions alone, and
what is already there (`--resume`) is kept near, so that networks which have learned to read it still can.
"""

import logging
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from tools.pocket.captions import sample_captions
from tools.pocket.components import (
    TEXT_DIM,
    VOCABULARY,
    build_text_encoder,
    load_component,
    save_component,
)
from tools.pocket.muon import Muon
from tools.pocket.tokenizer import find_tokenizer
from tools.pocket.training_run import Average, Box, Report, StageOptions, adamw
from wanvideo.models.text_encoder import PromptTokenizer

OFFSETS = (-3, -2, -1, 1, 2, 3)
KEEP_WEIGHT = 1.0
CAPTIONS, HELD_OUT = 30_000, 512
FILE = "pocket_umt5"
log = logging.getLogger("pocket")


class NeighbourHeads(nn.Module):
    """Throw-away heads that read the token at each of `OFFSETS` from a token's features."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Linear(TEXT_DIM, VOCABULARY) for _ in OFFSETS)

    def forward(self, rows: Tensor, ids: Tensor) -> tuple[Tensor, Tensor]:
        """rows (B, n, dim), ids (B, n), 0 = none -> cross-entropy and share of tokens named correctly."""
        losses, right = [], []
        for offset, head in zip(OFFSETS, self.heads, strict=True):
            here, there = _overlap(offset)
            told: Tensor = head(rows[:, here])
            wanted = ids[:, there].masked_fill((ids[:, there] == 0) | (ids[:, here] == 0), -1)
            losses.append(nn.functional.cross_entropy(told.flatten(0, 1), wanted.flatten(), ignore_index=-1))
            right.append((told.argmax(-1) == wanted)[wanted >= 0].float().mean())
        return torch.stack(losses).mean(), torch.stack(right).mean()


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTraining:
    """The encoder with its heads; `before` is the encoder that it started from."""

    encoder: nn.Module
    before: nn.Module
    heads: NeighbourHeads

    def losses(self, ids: Tensor) -> dict[str, Tensor]:
        """Token ids (B, n) -> cross-entropy of the neighbours, squared distance from before, share right."""
        mask = (ids != 0).long()
        rows = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        with torch.no_grad():
            old = self.before(input_ids=ids, attention_mask=mask).last_hidden_state
        inside = mask[..., None].float()
        moved = ((rows - old) * inside).square().sum() / (old * inside).square().sum()
        neighbours, right = self.heads(rows, ids)
        return {"neighbours": neighbours, "moved": moved, "right": right}


def train_text(options: StageOptions) -> None:
    """Train within the time and save pocket_umt5."""
    torch.manual_seed(options.seed)
    encoder, before = (build_text_encoder().to(options.device) for _ in range(2))
    resumed = options.resume is not None and load_component(encoder, options.resume, FILE)
    before.load_state_dict(encoder.state_dict())
    tokenizer = PromptTokenizer.from_file(find_tokenizer(options.out, options.resume, options.seed))
    ids = caption_ids(tokenizer, options.seed).to(options.device)
    heads = NeighbourHeads().to(options.device)
    training = TextTraining(encoder=encoder, before=before.requires_grad_(False), heads=heads)
    average = Average(encoder, 0.99)
    optimizers = build_optimizers(encoder, heads)
    box, report = Box(seconds=60 * options.minutes), Report("text")
    while not box.over:
        losses = training.losses(ids[torch.randint(len(ids), (options.batch,), device=ids.device)])
        loss = losses["neighbours"] + (KEEP_WEIGHT * losses["moved"] if resumed else 0.0)
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        average.update()
        box.advance(optimizers)
        report.add(losses)
        report.show(box)
    average.swap()
    save_component(options.out, FILE, encoder.state_dict())
    with torch.no_grad():
        found = training.losses(caption_ids(tokenizer, options.seed + 1, HELD_OUT).to(options.device))
    log.info("text held-out: %s", {name: round(float(value), 3) for name, value in found.items()})


def _overlap(offset: int) -> tuple[slice, slice]:
    """Which places of a row have a neighbour at `offset`, and those neighbours."""
    if offset > 0:
        return slice(None, -offset), slice(offset, None)
    return slice(-offset, None), slice(None, offset)


def build_optimizers(encoder: nn.Module, heads: nn.Module) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, fast steps for the few numbers that say how far a token looks."""
    layers: list[nn.Parameter] = []
    places: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in encoder.named_parameters():
        if "relative_attention_bias" in name:
            places.append(parameter)
        else:
            (layers if "block." in name and parameter.dim() == 2 else rest).append(parameter)
    return [Muon(layers, lr=0.01), adamw([(places, 2e-2), (rest, 5e-4), (list(heads.parameters()), 3e-3)])]


def caption_ids(tokenizer: PromptTokenizer, seed: int, count: int = CAPTIONS) -> Tensor:
    """Random captions of all kinds -> token ids (count, n), zero where there is none."""
    rows = [tokenizer.encode(text) for text in sample_captions(count, torch.Generator().manual_seed(seed))]
    ids = torch.zeros(count, max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, : len(row)] = torch.tensor(row)
    return ids
