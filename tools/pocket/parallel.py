"""One training run on several GPUs, one process each (started by torchrun).

Every process holds all networks and draws its own batches; gradients are added up, so that processes with
different tasks train one model together. Without torchrun there is one process and nothing is exchanged.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import distributed, nn

AGREE_EVERY = 10  # steps between two looks at the clock of process 0


@dataclass(frozen=True, slots=True)
class Worker:
    """This process among `count`."""

    rank: int = 0
    count: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that saves."""
        return self.rank == 0

    def share(self, parameters: Sequence[nn.Parameter]) -> None:
        """Give every process the parameters of process 0."""
        if self.count > 1:
            for parameter in parameters:
                distributed.broadcast(parameter.data, src=0)


def join_workers(device: torch.device) -> Worker:
    """Meet the other processes that torchrun started; alone without torchrun."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Worker()
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Worker(rank=distributed.get_rank(), count=count)


def own_device(name: str) -> torch.device:
    """The device of this process: with torchrun each has a GPU of its own."""
    if name != "cuda" or "LOCAL_RANK" not in os.environ:
        return torch.device(name)
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.cuda.set_device(device)
    return device


class GradientSum:
    """Adds up the gradients of some parameters over all processes, in one buffer.

    `contributors` is how many processes have a gradient for each parameter; the sum is divided by it.
    """

    def __init__(
        self, worker: Worker, parameters: Sequence[nn.Parameter], contributors: Sequence[int]
    ) -> None:
        self.worker = worker
        self.parameters = parameters
        sizes = [parameter.numel() for parameter in parameters]
        self.buffer = torch.zeros(sum(sizes), device=parameters[0].device)
        self.parts = [
            part.view_as(parameter)
            for parameter, part in zip(parameters, self.buffer.split(sizes), strict=True)
        ]
        self.shares = [1 / count for count in contributors]

    def clear(self) -> None:
        for parameter in self.parameters:
            parameter.grad = None

    def add_up(self) -> None:
        """Replace every gradient by the mean over the processes that contribute to it."""
        if self.worker.count == 1:
            return
        self.buffer.zero_()
        own = [
            (part, parameter.grad)
            for part, parameter in zip(self.parts, self.parameters, strict=True)
            if parameter.grad is not None
        ]
        torch._foreach_copy_([part for part, _ in own], [gradient for _, gradient in own])
        distributed.all_reduce(self.buffer)
        torch._foreach_mul_(self.parts, self.shares)
        for parameter, part in zip(self.parameters, self.parts, strict=True):
            parameter.grad = part


@dataclass(slots=True)
class SharedClock:
    """Seconds by the clock of process 0, looked at together every few steps, so that all end together."""

    worker: Worker
    device: torch.device
    steps: int = 0
    now: float = field(default_factory=time.monotonic)

    def __call__(self) -> float:
        return time.monotonic() if self.worker.count == 1 else self.now

    def tick(self) -> None:
        """Count a step of all processes."""
        if self.worker.count > 1 and self.steps % AGREE_EVERY == 0:
            told = torch.tensor([time.monotonic()], dtype=torch.float64, device=self.device)
            distributed.broadcast(told, src=0)
            self.now = float(told)
        self.steps += 1
