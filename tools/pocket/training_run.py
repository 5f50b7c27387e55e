"""What every stage of training shares: a wall-clock box, a learning rate over it, averaged weights, a log."""

import logging
import math
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from tools.pocket.parallel import Worker

WARM_UP_STEPS = 100
REPORT_SECONDS = 20.0
log = logging.getLogger("pocket")


@dataclass(frozen=True, slots=True, kw_only=True)
class StageOptions:
    """What the command line says about a stage. `out` receives weights, `resume` has those to start from."""

    minutes: float
    seed: int
    out: Path
    resume: Path | None
    clips: Path
    voices: Path
    device: torch.device
    batch: int = 32
    focus: str = "all"
    worker: Worker = Worker()


@dataclass(slots=True, kw_only=True)
class Box:
    """A share of wall-clock time with a learning rate: linear warm-up over steps, cosine over the time."""

    seconds: float
    floor: float = 0.02
    step: int = 0
    clock: Callable[[], float] = time.monotonic
    started: float = field(init=False)

    def __post_init__(self) -> None:
        self.started = self.clock()

    @property
    def progress(self) -> float:
        """0 at the start, 1 when the time is up."""
        return min(1.0, (self.clock() - self.started) / self.seconds)

    @property
    def over(self) -> bool:
        return self.progress >= 1.0

    def rate(self) -> float:
        """Factor on every learning rate at this moment."""
        cosine = self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * self.progress))
        return cosine * min(1.0, (self.step + 1) / WARM_UP_STEPS)

    def advance(self, optimizers: Iterable[torch.optim.Optimizer]) -> None:
        """Count a step and set the learning rates for the next one."""
        self.step += 1
        for optimizer in optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * self.rate()


class Average:
    """Exponential moving average of a module's parameters; its memory grows from a few steps to `decay`."""

    def __init__(self, module: nn.Module, decay: float = 0.999) -> None:
        self.live = dict(module.named_parameters())
        self.mean = {name: value.detach().clone() for name, value in self.live.items()}
        self.decay = decay
        self.steps = 0

    @torch.no_grad()
    def update(self) -> None:
        self.steps += 1
        weight = 1 - min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(list(self.mean.values()), list(self.live.values()), weight)

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange live and averaged weights; twice is as if nothing happened."""
        for name, value in self.live.items():
            value.data, self.mean[name] = self.mean[name], value.data


class Report:
    """Running means of named figures, logged every twenty seconds."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}
        self.shown = time.monotonic()
        self.steps_shown = 0

    def add(self, figures: Mapping[str, Tensor | float]) -> None:
        for name, value in figures.items():
            self.sums[name] = self.sums.get(name, 0.0) + (
                value.detach() if isinstance(value, Tensor) else value
            )
            self.counts[name] = self.counts.get(name, 0) + 1

    def show(self, box: Box, *, now: bool = False) -> bool:
        """Log and start afresh when it is time; True when it did."""
        elapsed = time.monotonic() - self.shown
        if elapsed < REPORT_SECONDS and not now:
            return False
        means = {name: float(total) / self.counts[name] for name, total in self.sums.items()}
        rate = (box.step - self.steps_shown) / max(elapsed, 1e-6)
        figures = " ".join(f"{name} {value:.4f}" for name, value in sorted(means.items()))
        log.info("%s step %d (%.0f %%, %.1f/s) %s", self.stage, box.step, 100 * box.progress, rate, figures)
        self.sums, self.counts = {}, {}
        self.shown, self.steps_shown = time.monotonic(), box.step
        return True


def start_log(folder: Path, stage: str) -> None:
    """Log to the console and to `folder`/`stage`.log."""
    folder.mkdir(parents=True, exist_ok=True)
    file = logging.FileHandler(folder / f"{stage}.log")
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout), file]
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", handlers=handlers
    )


def adamw(groups: list[tuple[list[nn.Parameter], float]], weight_decay: float = 0.01) -> torch.optim.AdamW:
    """AdamW over (parameters, learning rate) groups; matrices decay, vectors do not."""
    rows = []
    for parameters, rate in groups:
        for matrices in (True, False):
            chosen = [p for p in parameters if (p.dim() > 1) == matrices]
            if chosen:
                decay = weight_decay if matrices else 0.0
                rows.append({"params": chosen, "lr": rate, "base_lr": rate, "weight_decay": decay})
    return torch.optim.AdamW(rows, betas=(0.9, 0.99), fused=torch.cuda.is_available())


def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two videos in [-1, 1], mean over the batch of per-clip figures."""
    error = (a - b).float().square().flatten(1).mean(1) / 4
    return float((-10 * error.clamp(min=1e-10).log10()).mean())
