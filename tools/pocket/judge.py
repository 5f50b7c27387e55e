"""A small network that says what a clip of the cartoon world shows: subject, colours and motion.

It measures text to video: it has seen drawn clips alone, never one that the pocket model made.

It errs on about one drawn clip of forty, mostly on people under hats (`judge_figures.json`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tools.pocket.dataset import TALKS
from tools.pocket.looks import CHARACTERS, FIGURES, HEADWEAR, PEOPLE, Look
from tools.pocket.palette import FUR, METAL, NAMED
from tools.pocket.poses import ACTS, MOVES

# What the network sees of a clip: 12 of 33 frames are every third one, and a blink lasts eight.
FRAMES, SIZE = 12, 64
BARE = "none"
UNKNOWN = -1
HEADS: dict[str, tuple[str, ...]] = {
    "subject": (*FIGURES, *CHARACTERS),
    "coat": tuple(dict.fromkeys((*NAMED, *FUR, *METAL))),
    "shirt": tuple(NAMED),
    "headwear": (BARE, *HEADWEAR),
    "headwear_colour": tuple(NAMED),
    "motion": tuple(dict.fromkeys((TALKS, *ACTS, *MOVES))),
}
_CLIPS_AT_ONCE = 32
_PLACES, _MOMENT = 24, 96
F = nn.functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a clip shows. A field is None where what was seen has no such thing."""

    subject: str
    coat: str | None
    """Colour of a figure, of fur or of metal; None for people."""
    shirt: str | None
    """Colour of the shirt of people; None for all others. A guess where no body is drawn."""
    headwear: str | None
    headwear_colour: str | None
    motion: str
    probabilities: dict[str, float]
    """Of the likeliest word of every head of `HEADS`, whether it applies here or not."""


class Judge(nn.Module):
    """Convolutions inside each frame, mixes of neighbours in time, and one linear head per question.

    `width` channels after the first layer; 32 makes 0.85 M parameters.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        widths = (width, 2 * width, 3 * width, 4 * width)
        self.stem = nn.Conv2d(5, width, 5, stride=2, padding=2)
        self.blocks = nn.ModuleList(_Block(channels) for channels in widths)
        self.downs = nn.ModuleList(
            nn.Conv2d(narrow, wide, 3, stride=2, padding=1)
            for narrow, wide in zip(widths[:-1], widths[1:], strict=True)
        )
        cells = (SIZE // 2 ** len(widths)) ** 2
        self.places = nn.Conv2d(widths[-1], _PLACES, 1)
        self.moment = nn.Linear(cells * _PLACES, _MOMENT)
        self.story = nn.Linear(FRAMES * _MOMENT, 6 * width)
        features = 6 * width + widths[-1]
        self.heads = nn.ModuleDict({name: nn.Linear(features, len(words)) for name, words in HEADS.items()})

    def forward(self, video: Tensor) -> dict[str, Tensor]:
        """Clips (B, 3, F, H, W) in [-1, 1] -> logits (B, words) by head."""
        small = small_form(video)
        frames = small.transpose(1, 2).flatten(0, 1)
        x = self.stem(torch.cat([frames, _coordinates(frames)], dim=1))
        for index, block in enumerate(self.blocks):
            x = block(x if index == 0 else self.downs[index - 1](x))
        moments = F.silu(self.moment(F.silu(self.places(x)).flatten(1)))
        story = F.silu(self.story(moments.unflatten(0, (-1, FRAMES)).flatten(1)))
        shown = x.mean((-1, -2)).unflatten(0, (-1, FRAMES)).mean(1)
        features = torch.cat([story, shown], dim=1)
        return {name: head(features) for name, head in self.heads.items()}

    @torch.no_grad()
    def judge(self, video: Tensor) -> list[Verdict]:
        """Clips (B, 3, F, H, W) in [-1, 1], of any length and size -> one verdict per clip."""
        verdicts = []
        for part in video.split(_CLIPS_AT_ONCE):
            answers = {name: logits.float().softmax(-1).max(-1) for name, logits in self(part).items()}
            words = {name: best.indices.tolist() for name, best in answers.items()}
            chances = {name: best.values.tolist() for name, best in answers.items()}
            for row in range(len(part)):
                said = {name: HEADS[name][index[row]] for name, index in words.items()}
                verdicts.append(_verdict(said, {name: chance[row] for name, chance in chances.items()}))
        return verdicts


class _Block(nn.Module):
    """Two residual branches on frames (B * FRAMES, C, H, W): a 3 x 3 convolution, then a mix in time."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = 4
        self.space_norm = nn.GroupNorm(groups, channels)
        self.space = nn.Conv2d(channels, channels, 3, padding=1)
        self.time_norm = nn.GroupNorm(groups, channels)
        self.time = nn.Conv2d(3 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.space(F.silu(self.space_norm(x)))
        moments = F.silu(self.time_norm(x)).unflatten(0, (-1, FRAMES))
        padded = F.pad(moments, (0, 0, 0, 0, 0, 0, 1, 1))
        nearby = torch.cat([padded[:, :-2], moments, padded[:, 2:]], dim=2)
        mixed: Tensor = x + self.time(nearby.flatten(0, 1))
        return mixed


def small_form(video: Tensor) -> Tensor:
    """Clips (B, 3, F, H, W) -> (B, 3, FRAMES, SIZE, SIZE) float32, frames spread evenly, antialiased."""
    index = torch.linspace(0, video.shape[2] - 1, FRAMES, device=video.device).round().long()
    chosen = video[:, :, index].float()
    if chosen.shape[-2:] == (SIZE, SIZE):
        return chosen
    pictures = chosen.transpose(1, 2).flatten(0, 1)
    small = F.interpolate(pictures, (SIZE, SIZE), mode="bilinear", align_corners=False, antialias=True)
    clips: Tensor = small.unflatten(0, (-1, FRAMES)).transpose(1, 2)
    return clips


def labels(looks: Sequence[Look], acts: Sequence[str]) -> Tensor:
    """The truth of drawn clips -> (B, heads), indices of words; `UNKNOWN` where a question is void."""
    rows = [_words(look, act) for look, act in zip(looks, acts, strict=True)]
    return torch.tensor(
        [[UNKNOWN if word is None else HEADS[name].index(word) for name, word in row.items()] for row in rows]
    )


def save_judge(model: Judge, path: Path) -> None:
    """Write the weights in fp16."""
    halves = {key: value.detach().to("cpu", torch.float16) for key, value in model.state_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    save_file({key: value.contiguous() for key, value in halves.items()}, partial)
    partial.replace(path)


def load_judge(path: Path) -> Judge:
    """The network of a file of `save_judge` in fp32 on the CPU, for measuring alone.

    Raises FileNotFoundError without a file, RuntimeError when its weights are another network's.
    """
    state = {key: value.float() for key, value in load_file(path).items()}
    model = Judge(state["stem.weight"].shape[0])
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)


def _words(look: Look, act: str) -> dict[str, str | None]:
    """The right word for every head of `HEADS`, in their order."""
    person, figure = look.subject in PEOPLE, look.subject in FIGURES
    return {
        "subject": look.subject,
        "coat": None if person else look.colour,
        "shirt": look.shirt if person and look.body else None,
        "headwear": None if figure else look.headwear or BARE,
        "headwear_colour": look.headwear_colour if look.headwear is not None else None,
        "motion": act,
    }


def _verdict(said: dict[str, str], probabilities: dict[str, float]) -> Verdict:
    person = said["subject"] in PEOPLE
    wears = said["subject"] not in FIGURES and said["headwear"] != BARE
    return Verdict(
        subject=said["subject"],
        coat=None if person else said["coat"],
        shirt=said["shirt"] if person else None,
        headwear=said["headwear"] if wears else None,
        headwear_colour=said["headwear_colour"] if wears else None,
        motion=said["motion"],
        probabilities=probabilities,
    )


def _coordinates(frames: Tensor) -> Tensor:
    """Two more channels (N, 2, H, W): where a pixel is, -1 to 1 across and down."""
    height, width = frames.shape[-2:]
    down = torch.linspace(-1, 1, height, device=frames.device)[:, None].expand(height, width)
    across = torch.linspace(-1, 1, width, device=frames.device).expand(height, width)
    return torch.stack([across, down]).expand(len(frames), -1, -1, -1)
